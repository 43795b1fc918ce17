package pipeline

import "github.com/sekisho/sekisho/internal/pipeline/yaml"

// Unsupported is what of a plan this product doesn't run, though the language has it, each with its place and what to
// write instead. A plan that has some must not be run: the refusal is told before anything starts. Not in it are tasks
// that nobody knows, pools, connections, groups and environments: whether those exist isn't for the language to say.
//
// These are refused:
//   - resources that are builds, packages or webhooks; triggers of containers and of other repositories; containers found through a cloud's own
//     registry service;
//   - the deployment strategies rolling and canary; resources of environments, by name, id, type or tag;
//   - keys of pool that hosted offerings add; services described in place; repositories named in place;
//   - more than maxSchedules schedules;
//   - group and checks of a stage; a stage without jobs, a deployment without a strategy; steps reviewApp and getPackage.
func (p *Plan) Unsupported() []*yaml.Error { return p.unsupported }

// maxSchedules bounds how often whoever may push can have runs be started by the clock.
const maxSchedules = 20
