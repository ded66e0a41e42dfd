"""What a physicist calls; knows no LLM and no task. Inside the sandbox: `from tools import anomaly`."""
