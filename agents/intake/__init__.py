"""From a request and a file to a task with its options: the card that is agreed on before anything is spent."""
