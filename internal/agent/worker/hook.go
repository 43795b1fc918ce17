package worker

import (
	"fmt"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/work"
)

// hooks follows a deployment job through its hooks. Each of them is like a job of its own: none begins unless those before
// succeeded, whatever the conditions of its steps say, and its steps ask about their own hook. After the last one, onSuccess
// or onFailure comes, by how those before them ended.
type hooks struct {
	now   string      // the hook whose steps run
	out   string      // why none of its steps runs; empty: they do
	own   work.Result // of its steps
	main  work.Result // of the hooks before onSuccess and onFailure
	after bool        // main is over
}

// enter begins the hook of a step, if it is another one. so is how the job is.
func (h *hooks) enter(name string, so work.Result) {
	if strings.EqualFold(h.now, name) {
		return
	}
	h.now, h.out, h.own = name, "", work.Succeeded
	last := strings.EqualFold(name, "onFailure") || strings.EqualFold(name, "onSuccess")
	if !h.after {
		h.main, h.after = so, last
	}
	switch bad := h.main != work.Succeeded && h.main != work.SucceededWithIssues; {
	case strings.EqualFold(name, "onFailure"):
		if h.main != work.Failed {
			h.out = "Nothing failed."
		}
	case bad:
		h.out = fmt.Sprintf("The hooks before %s did not succeed.", name)
	}
}

// status is what the steps of a hook are told of it.
func (h *hooks) status(so work.Result) work.Result {
	if so == work.Canceled || worse(so, work.Canceled) {
		return so
	}
	return h.own
}

// ended notes the result of a step.
func (h *hooks) ended(r work.Result) {
	if worse(r, h.own) {
		h.own = r
	}
}
