package flow

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sekisho/sekisho/internal/pipeline"
	"github.com/sekisho/sekisho/internal/pipeline/expr"
)

// Settings are what an instance of a job is to be run with: its texts with $[ ] evaluated and macros expanded.
type Settings struct {
	Job                  *pipeline.Job
	DisplayName          string
	Identifier           string // System.JobIdentifier: "Stage.Job.leg"
	TimeoutMinutes       int    // 0: none
	CancelTimeoutMinutes int
	Server               bool // an agentless job
	Pool                 string
	VMImage              string
	Demands              []string
	Container            string              // alias; empty: on the host
	InlineContainer      *pipeline.Container // a container that the job describes in place
	Services             []pipeline.KeyValue // name → alias
	Environment          string              // of a deployment job
	EnvironmentResource  string
	Steps                []Step
}

// The timeouts of jobs that say nothing, in minutes.
const (
	DefaultTimeout       = 60
	DefaultCancelTimeout = 5
)

// Job is what an instance of a job is to be run with. Texts are evaluated as far as is known by then, so it is asked when
// the instance is ready; Pool and Demands may be asked for then, too.
func (f *Flow) Job(st *State, stage, job, instance string) (*Settings, error) {
	vars, names, err := f.instanceScope(st, stage, job, instance)
	if err != nil {
		return nil, err
	}
	j, err := f.find(stage, job)
	if err != nil {
		return nil, err
	}
	s := &Settings{Job: j.Job, Steps: Steps(j.Job)}
	display, _ := vars.public("System.JobDisplayName")
	s.DisplayName = f.text(vars, display)
	s.Identifier, _ = vars.public("System.JobIdentifier")
	if s.TimeoutMinutes, err = f.minutes(vars, names, "timeoutInMinutes of job "+j.Name, j.TimeoutInMinutes, DefaultTimeout); err != nil {
		return nil, err
	}
	if s.CancelTimeoutMinutes, err = f.minutes(vars, names, "cancelTimeoutInMinutes of job "+j.Name, j.CancelTimeoutInMinutes,
		DefaultCancelTimeout); err != nil {
		return nil, err
	}
	pool := j.Pool
	if pool == nil {
		pool = j.stage.Pool
	}
	if pool == nil {
		pool = f.plan.Pool
	}
	if pool != nil {
		s.Server = pool.Server
		if s.Pool, err = f.value(vars, names, pool.Name); err == nil {
			s.VMImage, err = f.value(vars, names, pool.VMImage)
		}
		for i := 0; err == nil && i < len(pool.Demands); i++ {
			var demand string
			demand, err = f.value(vars, names, pool.Demands[i])
			s.Demands = append(s.Demands, demand)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: the pool of job %s: %w", pool.Pos, j.Name, err)
		}
	}
	if c := j.Container; c != nil {
		if c.Image != "" {
			s.InlineContainer = c
		}
		if s.Container, err = f.value(vars, names, c.Alias); err != nil {
			return nil, fmt.Errorf("the container of job %s: %w", j.Name, err)
		}
	}
	for _, kv := range j.Services {
		alias, err := f.value(vars, names, kv.Value)
		if err != nil {
			return nil, fmt.Errorf("the service %s of job %s: %w", kv.Key, j.Name, err)
		}
		s.Services = append(s.Services, pipeline.KeyValue{Pos: kv.Pos, Key: kv.Key, Value: alias})
	}
	if j.Deployment != nil {
		s.Environment, _ = vars.public("Environment.Name")
		s.EnvironmentResource, _ = vars.public("Environment.ResourceName")
	}
	return s, nil
}

// minutes reads a timeout; 0 is none.
func (f *Flow) minutes(vars *scope, names map[string]expr.Value, what, text string, otherwise int) (int, error) {
	if strings.TrimSpace(text) == "" {
		return otherwise, nil
	}
	value, err := f.value(vars, names, text)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	if strings.TrimSpace(value) == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	if err != nil || !(n >= 0 && n <= 1<<30) {
		return 0, fmt.Errorf("%s is '%s', it must be a number of minutes", what, shorten(value, 80))
	}
	return int(n), nil
}

// boolean reads a text that is true or false once it is evaluated.
func (f *Flow) boolean(vars *scope, names map[string]expr.Value, what, text string) (bool, error) {
	value, err := f.value(vars, names, text)
	if err != nil {
		return false, fmt.Errorf("%s: %w", what, err)
	}
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "true":
		return true, nil
	case "false", "":
		return false, nil
	}
	return false, fmt.Errorf("%s is '%s', it must be true or false", what, shorten(value, 80))
}
