package flow

import (
	"strings"

	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pipeline/expr"
)

// Step is a step of a job in the order in which they run.
type Step struct {
	*pipeline.Step
	Hook      string // of a deployment job: the hook it belongs to
	Condition string // with what its hook asks for; empty: succeeded()
}

// Steps are the steps of a job. A deployment job runs its hooks one after the other as one job: preDeploy, deploy,
// routeTraffic, postRouteTraffic; then onFailure if something failed, or onSuccess if nothing did.
//
// The steps of onFailure run if the job failed before; where one of them asks succeeded(), it asks about its hook alone, and
// gets true.
func Steps(j *pipeline.Job) []Step {
	if j.Deployment == nil {
		steps := make([]Step, len(j.Steps))
		for i, s := range j.Steps {
			steps[i] = Step{Step: s, Condition: s.Condition}
		}
		return steps
	}
	var steps, failure, success []Step
	for _, h := range j.Deployment.Hooks {
		for _, s := range h.Steps {
			step := Step{Step: s, Hook: h.Name, Condition: s.Condition}
			switch strings.ToLower(h.Name) {
			case "onfailure":
				step.Condition = onFailure(s.Condition)
				failure = append(failure, step)
			case "onsuccess":
				if condition := unwrap(s.Condition); condition != "" {
					step.Condition = "and(succeeded(), " + condition + ")"
				}
				success = append(success, step)
			default:
				steps = append(steps, step)
			}
		}
	}
	return append(append(steps, success...), failure...)
}

// onFailure is the condition of a step of an onFailure hook.
func onFailure(condition string) string {
	condition = unwrap(condition)
	if condition == "" {
		return "failed()"
	}
	e, err := expr.Parse(condition)
	if err != nil {
		return "and(failed(), " + condition + ")" // the agent says what is wrong with it
	}
	return "and(failed(), " + e.Replace("succeeded", "succeededOrFailed") + ")"
}
