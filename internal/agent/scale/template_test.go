package scale

import (
	"slices"
	"testing"
)

// TestPlain keeps from agents what configured their scaler, but for where tasks are.
func TestPlain(t *testing.T) {
	got := plain([]string{"PATH=/bin", "SEKISHO_AGENT_INPUT_TOKEN=secret", "SEKISHO_AGENT_INPUT_TASKS=/opt/tasks", "AWS_SECRET_ACCESS_KEY=secret"})
	if !slices.Equal(got, []string{"PATH=/bin", "SEKISHO_AGENT_INPUT_TASKS=/opt/tasks"}) {
		t.Errorf("%q", got)
	}
}
