package agent

import "strings"

// InputPrefix is what the environment variables begin with that answer the questions of the configuration.
const InputPrefix = "SEKISHO_AGENT_INPUT_"

// TasksInput is the one that agents of one job look at too: it names folders with published tasks, as PATH names folders.
const TasksInput = InputPrefix + "TASKS"

// isInput reports whether an environment variable configures the agent: jobs don't see them.
func isInput(pair string) bool { return strings.HasPrefix(pair, InputPrefix) }
