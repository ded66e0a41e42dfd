"""Tools that a physicist calls; they know no LLM and no task. Inside the sandbox: `from tools import anomaly`."""
