"""How weights are found. `fit.py` has the epochs, `step.py` the step; recipes/*.toml the settings that work.

Enters: settings and data. Leaves: a run folder. Called by cli and `catseye.train`.

    train.py            what a run needs is built, trained and measured: `catseye.train`
    fit.py              its epochs
    step.py             one training step, whole
    captured.py         the same step as one CUDA graph, and the choice between the two
    updates.py          SGD and Muon with rate and momentum in tensors, for it
    request.py          what a caller asks for, checked: the options of `catseye.train` and its siblings
    session.py          settings, weights, images, and the decision before anything is built; all verbs begin here
    distributed.py      several processes: who is who, sums, gathered evaluation
    launch.py           `--nproc N`: start, watch and restart them
    in_processes.py     the same, asked for in Python
    sync_batch_norm.py  batch norm over the images of all processes
    parts.py            what a step needs where memory is short: a way back, and more parts
    run_folder.py       which run folder, what is written first, and the record of a run while it trains
    assemble.py         the objects of a run, from a session
    network.py          its network, fresh or with published weights
    finish.py           the best weights measured, the run folder completed
    auto.py             the recipe auto: facts in, a way of training and one sentence out
    facts.py            those facts, from the images, the machine and the weights at hand
    divergence.py       a loss that runs away
    transfer.py         strategy chosen from the data; freezing, rates per stage
    cached_features.py  frozen features, computed once
    kept_features.py    those features in the folder of an unfinished run
    trials/             the way of training found by trials: features and a head first, then what pays
    distillation.py     learning from another run's answers
    lr_find.py          the learning-rate finder
    losses.py           cross-entropy, label smoothing, class weights
    optimizers.py       SGD, Adam, AdamW, Muon, and groups of parameters; no decay on norms and biases
    muon.py             momentum with orthogonal steps
    schedules.py        learning rate and momentum as functions of the step
    ema.py              moving average of the weights
    checkpoints.py      the state of an unfinished run, and when it is saved
    history.py          one line per epoch
    tracking.py         TensorBoard, MLflow, Weights & Biases, where asked for
    progress.py         the live bar, or plain lines
    notebook_progress.py  one live bar in a notebook
    own_code.py         the caller's own network, augmentation, loss, and function per epoch
    own_steps.py        the second of these inside a step
    shown.py            training images as the network sees them
    signals.py          Ctrl-C and SIGTERM, answered at a safe place
    threads.py          one thread where more are slower, measured before the first step
    timeline.py         the walk behind `catseye timeline`
"""
