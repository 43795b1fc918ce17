package flow

import (
	"strings"

	"github.com/sekisho/sekisho/internal/pipeline"
)

// Step is a step of a job in the order in which they run.
type Step struct {
	*pipeline.Step
	Hook string // of a deployment job: the hook it belongs to
}

// Steps are the steps of a job. A deployment job runs its hooks one after the other as one job: preDeploy, deploy,
// routeTraffic, postRouteTraffic; then onSuccess or onFailure. Whether a hook runs depends on those before it, and the agent
// decides that: the conditions of the steps are about their hook alone.
func Steps(j *pipeline.Job) []Step {
	if j.Deployment == nil {
		steps := make([]Step, len(j.Steps))
		for i, s := range j.Steps {
			steps[i] = Step{Step: s}
		}
		return steps
	}
	var steps, failure, success []Step
	for _, h := range j.Deployment.Hooks {
		to := &steps
		switch strings.ToLower(h.Name) {
		case "onfailure":
			to = &failure
		case "onsuccess":
			to = &success
		}
		for _, s := range h.Steps {
			*to = append(*to, Step{Step: s, Hook: h.Name})
		}
	}
	return append(append(steps, success...), failure...)
}
