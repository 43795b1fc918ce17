package command

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/work"
)

// State is what commands change: the step that printed them, and its job. Paths are those that the step sees. The errors
// of its methods become errors of the step.
type State interface {
	Variable(v work.Variable, output bool) error
	// TaskVariable sets a variable that only the same task sees.
	TaskVariable(v work.Variable) error
	Secret(value string) error
	Issue(i work.Issue)
	// Complete sets the step's result, never to a better one. done ends the step now.
	Complete(r work.Result, message string, done bool)
	Progress(percent int, operation string)
	// Attach keeps a file. The file must be one that the step itself could read.
	Attach(ctx context.Context, kind, name, file string) error
	PrependPath(dir string) error
	Endpoint(id, field, key, value string) error
	RunNumber(ctx context.Context, number string) error
	Tag(ctx context.Context, tag string) error
	// Upload adds a file or folder to an artifact, below a folder of it. Associate records an artifact that lies elsewhere.
	Upload(ctx context.Context, artifact, folder, file string, properties map[string]string) error
	Associate(ctx context.Context, artifact, kind, location string, properties map[string]string) error
	// Record shows a timeline record below the step.
	Record(d Detail) error
	Debug(text string)
	Warn(text string)
}

// Detail is a line of the run's timeline that a step adds by task.logdetail.
type Detail struct {
	ID, Parent, Name, Kind string
	Order, Progress        int
	State                  work.State
	Result                 work.Result
	Operation              string
}

// Restrictions are what a step's commands may do.
type Restrictions struct {
	Restricted bool     // only commands that change nothing but the step
	Settable   []string // variables that may be set, with * in them; nil: all
	// And are further restrictions, nil for none: both hold.
	And *Restrictions
}

// RestrictionsOf returns those of a step's target.
func RestrictionsOf(t *work.Target) Restrictions {
	if t == nil {
		return Restrictions{}
	}
	return Restrictions{Restricted: strings.EqualFold(t.Commands, "restricted"), Settable: t.SettableVariables}
}

func (r Restrictions) restricted() bool { return r.Restricted || r.And != nil && r.And.restricted() }

// MaySet reports whether a variable may be set.
func (r Restrictions) MaySet(name string) bool {
	if r.And != nil && !r.And.MaySet(name) {
		return false
	}
	if r.Settable == nil {
		return true
	}
	return slices.ContainsFunc(r.Settable, func(pattern string) bool {
		ok, err := path.Match(strings.ToLower(pattern), strings.ToLower(name))
		return err == nil && ok
	})
}

// do is what a command does.
type do struct {
	restricted bool // allowed in restricted mode too
	run        func(context.Context, State, Command, Restrictions) error
}

var commands = map[string]do{
	"task.setvariable":        {true, setVariable},
	"task.setsecret":          {true, setSecret},
	"task.logissue":           {true, logIssue},
	"task.issue":              {true, logIssue},
	"task.complete":           {true, complete},
	"task.setprogress":        {true, setProgress},
	"task.logdetail":          {true, logDetail},
	"task.debug":              {true, func(_ context.Context, s State, c Command, _ Restrictions) error { s.Debug(c.Data); return nil }},
	"task.prependpath":        {true, prependPath},
	"task.uploadsummary":      {false, attach(Summary, "")},
	"task.uploadfile":         {false, attach(File, "")},
	"task.addattachment":      {false, addAttachment},
	"task.settaskvariable":    {false, setTaskVariable},
	"task.setendpoint":        {false, setEndpoint},
	"build.uploadlog":         {false, attach(Log, "CustomToolLog")},
	"build.uploadsummary":     {false, attach(Summary, "")},
	"build.updatebuildnumber": {false, updateBuildNumber},
	"build.addbuildtag":       {false, addBuildTag},
	"artifact.upload":         {false, upload},
	"artifact.associate":      {false, associate},
	// What tasks tell of themselves to their makers is not kept.
	"telemetry.publish": {true, func(context.Context, State, Command, Restrictions) error { return nil }},
}

// The types of attachments that commands make.
const (
	Summary = "Distributedtask.Core.Summary"
	File    = "Distributedtask.Core.FileAttachment"
	Log     = "Distributedtask.Core.Log"
)

// Do obeys a command. What is not known or not allowed is said to the state as a warning; an error is one of the step.
func Do(ctx context.Context, s State, c Command, r Restrictions) error {
	d, ok := commands[c.Name()]
	switch {
	case !ok:
		s.Warn(fmt.Sprintf("##vso[%s] is not a logging command that this agent knows: it was not obeyed", c.Name()))
		return nil
	case r.restricted() && !d.restricted:
		s.Warn(fmt.Sprintf("##vso[%s] is not allowed in this step: its target, or its task, says commands: restricted", c.Name()))
		return nil
	}
	if err := d.run(ctx, s, c, r); err != nil {
		return fmt.Errorf("##vso[%s]: %w", c.Name(), err)
	}
	if c.Name() != "task.debug" {
		s.Debug("Processed: ##vso[" + c.Name() + "]")
	}
	return nil
}

func (c Command) flag(name string) bool { return strings.EqualFold(c.Properties[name], "true") }

func (c Command) need(name string) (string, error) {
	if v := c.Properties[name]; v != "" {
		return v, nil
	}
	return "", fmt.Errorf("the property %s is missing", name)
}

var errLines = errors.New("a secret of several lines can't be set by a command: put it in a file, or set its lines one by one")

// variable is the variable of setvariable and settaskvariable. A secret is masked even if the rest fails.
func variable(s State, c Command) (work.Variable, error) {
	v := work.Variable{Name: c.Properties["variable"], Value: c.Data, Secret: c.flag("issecret"), ReadOnly: c.flag("isreadonly")}
	if v.Secret {
		if err := s.Secret(c.Data); err != nil {
			return v, err
		}
	}
	_, err := c.need("variable")
	if err == nil && v.Secret && strings.ContainsAny(c.Data, "\n") {
		err = errLines
	}
	return v, err
}

func setVariable(_ context.Context, s State, c Command, r Restrictions) error {
	v, err := variable(s, c)
	if err != nil {
		return err
	}
	if !r.MaySet(v.Name) {
		s.Warn(fmt.Sprintf("%q is not among the settableVariables of this step's target or task: it was not set", v.Name))
		return nil
	}
	return s.Variable(v, c.flag("isoutput"))
}

func setTaskVariable(_ context.Context, s State, c Command, _ Restrictions) error {
	v, err := variable(s, c)
	if err != nil {
		return err
	}
	return s.TaskVariable(v)
}

func setSecret(_ context.Context, s State, c Command, _ Restrictions) error { return s.Secret(c.Data) }

func logIssue(_ context.Context, s State, c Command, _ Restrictions) error {
	kind := strings.ToLower(c.Properties["type"])
	if kind != "error" && kind != "warning" {
		return fmt.Errorf("type must be error or warning, not %q", c.Properties["type"])
	}
	s.Issue(work.Issue{
		Type: kind, Message: c.Data, Source: c.Properties["sourcepath"], Code: c.Properties["code"],
		Line: c.Properties["linenumber"], Column: c.Properties["columnnumber"],
	})
	return nil
}

func complete(_ context.Context, s State, c Command, _ Restrictions) error {
	var r work.Result
	switch strings.ToLower(c.Properties["result"]) {
	case "succeeded":
		r = work.Succeeded
	case "succeededwithissues":
		r = work.SucceededWithIssues
	case "failed":
		r = work.Failed
	case "canceled", "cancelled":
		r = work.Canceled
	case "skipped":
		r = work.Skipped
	default:
		return fmt.Errorf("result must be Succeeded, SucceededWithIssues, Failed, Canceled or Skipped, not %q", c.Properties["result"])
	}
	s.Complete(r, c.Data, c.flag("done"))
	return nil
}

func setProgress(_ context.Context, s State, c Command, _ Restrictions) error {
	s.Progress(percent(c.Properties["value"]), c.Data)
	return nil
}

func percent(s string) int {
	n, _ := strconv.Atoi(s) // what is no number counts as 0
	return min(max(n, 0), 100)
}

func logDetail(_ context.Context, s State, c Command, _ Restrictions) error {
	id, err := c.need("id")
	if err != nil {
		return err
	}
	d := Detail{
		ID: id, Parent: c.Properties["parentid"], Name: c.Properties["name"], Kind: c.Properties["type"],
		Progress: percent(c.Properties["progress"]), Operation: c.Data,
	}
	d.Order, _ = strconv.Atoi(c.Properties["order"])
	switch strings.ToLower(c.Properties["state"]) {
	case "":
	case "unknown", "initialized", "pending":
		d.State = work.Pending
	case "inprogress":
		d.State = work.InProgress
	case "completed":
		d.State = work.Completed
	default:
		return fmt.Errorf("state must be Unknown, Initialized, InProgress or Completed, not %q", c.Properties["state"])
	}
	switch strings.ToLower(c.Properties["result"]) {
	case "succeeded":
		d.Result = work.Succeeded
	case "succeededwithissues":
		d.Result = work.SucceededWithIssues
	case "failed":
		d.Result = work.Failed
	case "canceled", "cancelled":
		d.Result = work.Canceled
	case "skipped":
		d.Result = work.Skipped
	}
	return s.Record(d)
}

func prependPath(_ context.Context, s State, c Command, r Restrictions) error {
	if c.Data == "" {
		return errors.New("the folder is missing")
	}
	if !r.MaySet("PATH") {
		s.Warn("PATH is not among the settableVariables of this step's target or task: it was not changed")
		return nil
	}
	return s.PrependPath(c.Data)
}

// attach returns a command that attaches the file it names, by that file's name or a fixed one.
func attach(kind, name string) func(context.Context, State, Command, Restrictions) error {
	return func(ctx context.Context, s State, c Command, _ Restrictions) error {
		if c.Data == "" {
			return errors.New("the path of the file is missing")
		}
		n := name
		if n == "" {
			n = path.Base(c.Data)
		}
		return s.Attach(ctx, kind, n, c.Data)
	}
}

func addAttachment(ctx context.Context, s State, c Command, _ Restrictions) error {
	kind, err := c.need("type")
	if err != nil {
		return err
	}
	name, err := c.need("name")
	if err != nil {
		return err
	}
	for what, v := range map[string]string{"type": kind, "name": name} {
		if strings.ContainsAny(v, "/\x00") || v == "." || v == ".." {
			return fmt.Errorf("%s may not hold a slash: %q", what, v)
		}
	}
	return s.Attach(ctx, kind, name, c.Data)
}

func setEndpoint(_ context.Context, s State, c Command, _ Restrictions) error {
	field, err := c.need("field")
	if err != nil {
		return err
	}
	field = strings.ToLower(field)
	if c.Data == "" {
		return errors.New("the value is missing")
	}
	if field == "authparameter" {
		if err := s.Secret(c.Data); err != nil {
			return err
		}
	}
	id, err := c.need("id")
	if err != nil {
		return err
	}
	switch field {
	case "url":
		if u, err := url.Parse(c.Data); err != nil || !u.IsAbs() {
			return errors.New("the value is no absolute URL")
		}
		return s.Endpoint(id, field, "", c.Data)
	case "authparameter", "dataparameter":
		key, err := c.need("key")
		if err != nil {
			return err
		}
		return s.Endpoint(id, field, key, c.Data)
	}
	return fmt.Errorf("field must be url, authParameter or dataParameter, not %q", c.Properties["field"])
}

func updateBuildNumber(ctx context.Context, s State, c Command, _ Restrictions) error {
	if c.Data == "" {
		return errors.New("the number is missing")
	}
	return s.RunNumber(ctx, c.Data)
}

func addBuildTag(ctx context.Context, s State, c Command, _ Restrictions) error {
	tag := strings.TrimSpace(c.Data)
	if tag == "" {
		return errors.New("the tag is missing")
	}
	return s.Tag(ctx, tag)
}

// artifact takes the properties of an artifact's command apart: those that say what to do, and those that are kept with it.
func artifact(c Command) (name string, properties map[string]string, err error) {
	if name, err = c.need("artifactname"); err != nil {
		return "", nil, err
	}
	for k, v := range c.Properties {
		if k != "artifactname" && k != "containerfolder" && k != "type" {
			if properties == nil {
				properties = map[string]string{}
			}
			properties[k] = v
		}
	}
	return name, properties, nil
}

func upload(ctx context.Context, s State, c Command, _ Restrictions) error {
	name, properties, err := artifact(c)
	if err != nil {
		return err
	}
	if c.Data == "" {
		return errors.New("the path of the file is missing")
	}
	folder := c.Properties["containerfolder"]
	if folder == name {
		folder = ""
	}
	return s.Upload(ctx, name, folder, c.Data, properties)
}

func associate(ctx context.Context, s State, c Command, _ Restrictions) error {
	name, properties, err := artifact(c)
	if err != nil {
		return err
	}
	if c.Data == "" {
		return errors.New("the place of the artifact is missing")
	}
	return s.Associate(ctx, name, c.Properties["type"], c.Data, properties)
}
