"""Files that put catseye to work elsewhere, rendered by `catseye deploy`.

Enters: a model file and facts of the place. Leaves: files. Called by cli.

    deploy.py        one function per target
    targets.py       what the user says of a cluster, or of machines for a training
    rendering.py     the model, templates and the folder that every target shares
    budget.py        what a server needs: time to stop, memory, requests per second
    kubernetes.py    Kustomize base, components and overlays
    aws_lambda.py    an AWS Lambda function: package, image, stacks
    docker.py        an image of one model's server: Dockerfile, requirements, labels
    compose.py       that image beside Prometheus and Grafana
    wheel.py         the installed catseye as a wheel
    sbom.py          what is in an image, as CycloneDX
    training_job.py  several machines: a Kubernetes or Kubeflow job, a Slurm script
"""
