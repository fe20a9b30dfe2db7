"""The paper's model (arXiv 2308.04502; docs/method.md), one idea per file.

    dferc.py      §1 projection; the whole model in one file
    layers/       initialisation (§6), dropout, the MLP that every part uses, LSTM, attention
    ddm.py        §2 dual-level disentanglement and its contrastive losses
    cfm.py        §3 contribution-aware fusion (its loss: losses.py)
    alignment.py  §4 prototypes, alignment loss and the agreement of modalities
    crm.py        §5 context refusion; layers/lstm.py is its recurrence
    losses.py     §6 the training loss: add a term here
    variants.py   the ablation rows: add a switch here
    extras.py, linear_blend.py, ensemble.py   beyond the paper (docs/plus.md); ensemble.py has `build_model`

Letters at the end of a tensor's name are its shape, one per dimension; each file lists its letters at the top.
"""
