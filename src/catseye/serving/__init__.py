"""An exported model behind HTTP: model, batcher, application, page. No torch anywhere in this room."""
