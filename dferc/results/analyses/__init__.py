"""The paper's analyses of finished runs: `dferc analyse` writes them to reports/<corpus>/analyses.json.

One module per question: from saved predictions (and, where needed, checkpoints and features) to plain numbers.
The file is strict JSON (null where there is no number, never NaN), `schema` = `document.SCHEMA`. A *number* is

    {"mean": 0.81, "std": 0.03, "seeds": 5, "n": 135}

over the seeds: each seed is scored on its own, then mean and standard deviation (n - 1) are taken; nothing is pooled.
`std` is null for one seed, `mean` as well where no seed has an utterance there. `seeds` counts those that have; `n` is
the number of utterances behind one seed's value (a mean where the model itself decides which utterances these are).

    schema, corpus, split, card, protocol; digest, which tells a file that was changed
    simulated     [sentence]: simulated parts of corpus and features; empty = nothing is declared as simulated
    classes       [name], modalities [name of those that any run uses]
    utterances, labelled, dialogue_count: of the split; support {class: labelled utterances}
    runs          {name: {"folder", "seeds": [int], "files": digest of its evaluate/}}, in the paper's order, then
                  baselines and trials
    run           the name of the run whose models are analysed (geometry, missing, votes)
    notes         [sentence]: runs and analyses that are left out and why, single seeds, absent classes

and each analysis, which has `how` (its method, for a caption) and `statements` ([sentence]: questions that it cannot
answer, and why) beside its data; where there are no data at all, their keys are there and empty.

    contributions (`dferc.results.analyses.contributions`)
      runs        {run: {"modalities", "overall": {modality: number}, "by_class": {class: {modality: number}},
                         "present": {modality: number}}}
    context (`dferc.results.analyses.context`)
      runs        {run: {"correlation": number, "bins": [{"weight", "agreement", "accuracy", "weighted_f1": number}]}}
      votes       [{"agreeing": 3, "share", "agreement", "weight", "accuracy": number}]: by how many of the modalities'
                  own classifiers name the same class; of `run`
    dialogues (`dferc.results.analyses.dialogues`)
      by_length, by_position, by_shift
                  {run: [{"name": "1–7", "dialogues": 12, "accuracy": number, "weighted_f1": number}]}
    calibration (`dferc.results.analyses.calibration`)
      runs        {run: {"ece", "confidence", "accuracy": number,
                         "bins": [{"low", "high", "share", "confidence", "accuracy": number}]}}
    geometry (`dferc.results.analyses.geometry`), of `run`
      levels      [name]: projected (h), modality_level (a), utterance_level (u), disentangled (r)
      silhouette  {level: {"by_modality": number, "by_utterance": number}}
      utterances, rows: how many were sampled; `n` of a silhouette counts rows
      tsne        {"seed", "perplexity", "utterance_id": [], "modality": [], "emotion": [class or null],
                   "levels": {level: {"x": [], "y": []}}} or null
    missing (`dferc.results.analyses.missing`), of `run`
      subsets     [{"modalities": [name], "nothing": utterances left with none, "accuracy", "weighted_f1": number}]
      random      [{"rate", "reached": share that is absent, "accuracy", "weighted_f1": number,
                    "accuracy_std_draws", "weighted_f1_std_draws"}]: a number is over seeds, of each its mean over draws
      draws       per rate
"""
