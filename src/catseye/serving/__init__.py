"""An exported model behind HTTP: session, batcher, application, page. No torch anywhere in this room."""
