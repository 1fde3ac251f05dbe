"""What the pages ask and who answers: one module a chapter, with its `QUESTIONS`."""
