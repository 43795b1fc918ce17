package flow

import "github.com/sekisho/sekisho/internal/agent/work"

// Predefined are the variables that a run has before its pipeline is read.
func (r *Run) Predefined() []work.Variable { return r.predefined() }
