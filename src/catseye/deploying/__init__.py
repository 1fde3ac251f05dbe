"""Files that run catseye on other platforms, rendered by `catseye deploy`.

Enters: a model file and facts about the platform. Leaves: files. Called by cli.

    deploy.py        one function per target
    targets.py       the user's description of a cluster, or of machines for training
    rendering.py     the model, templates and the folder that every target shares
    budget.py        what a server needs: time to stop, memory, requests per second
    kubernetes.py    Kustomize base, components and overlays
    aws_lambda.py    an AWS Lambda function: package, image, stacks
    docker.py        an image of one model's server: Dockerfile, requirements, labels
    compose.py       that image beside Prometheus and Grafana
    wheel.py         the installed catseye as a wheel
    sbom.py          the contents of an image, as CycloneDX
    training_job.py  several machines: a Kubernetes or Kubeflow job, a Slurm script
"""
