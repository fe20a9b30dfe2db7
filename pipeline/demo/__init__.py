"""The parts of the synthetic demo corpus: what is planned (plan), and how it is written, spoken, drawn and packed."""
