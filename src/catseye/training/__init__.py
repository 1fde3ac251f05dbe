"""Training: `fit.py` has the epochs, `step.py` the step, recipes/*.toml settings.

Enters: settings and data. Leaves: a run folder. Called by cli and `catseye.train`.

    train.py            `catseye.train`: builds what a run needs, trains it and measures it
    fit.py              its epochs
    step.py             one training step, complete
    captured.py         the same step as one CUDA graph, and the choice between the two
    updates.py          SGD and Muon with rate and momentum in tensors, for it
    request.py          the checked options of `catseye.train` and its siblings
    session.py          settings, weights, images, and the last decisions before building; all commands begin here
    distributed.py      several processes: ranks, sums, gathered evaluation
    launch.py           `--nproc N`: start, watch and restart them
    in_processes.py     the same, called from Python
    sync_batch_norm.py  batch norm over the images of all processes
    parts.py            if memory is short: undoing a failed step, and dividing a batch into more parts
    run_folder.py       choosing a run folder, its first files, and the record of a run while it trains
    assemble.py         the objects of a run, from a session
    network.py          its network, fresh or with published weights
    finish.py           the best weights measured, the run folder completed
    auto.py             the recipe auto: facts in, a training method and one sentence out
    facts.py            those facts, from the images, the machine and the available weights
    divergence.py       detecting a loss that diverges
    transfer.py         strategy chosen from the data; freezing, rates per stage
    cached_features.py  frozen features, computed once
    kept_features.py    those features in the folder of an unfinished run
    trials/             choosing the training method by trials: features and a head first, then improvements
    distillation.py     learning from another run's answers
    lr_find.py          the learning-rate finder
    losses.py           cross-entropy, label smoothing, class weights
    optimizers.py       SGD, Adam, AdamW, Muon, and groups of parameters; no decay on norms and biases
    muon.py             momentum with orthogonal steps
    schedules.py        learning rate and momentum as functions of the step
    ema.py              moving average of the weights
    checkpoints.py      the state of an unfinished run, and when it is saved
    history.py          one line per epoch
    tracking.py         TensorBoard, MLflow, Weights & Biases, on request
    progress.py         the live bar, or plain lines
    notebook_progress.py  one live bar in a notebook
    own_code.py         the caller's own network, augmentation, loss, and function per epoch
    own_steps.py        the caller's augmentation inside a step
    shown.py            training images as the network sees them
    signals.py          Ctrl-C and SIGTERM, handled at a safe point
    threads.py          one thread if more are slower, measured before the first step
    timeline.py         `catseye timeline`
"""
