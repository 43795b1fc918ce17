package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/command"
	"github.com/sekisho/sekisho/internal/agent/mask"
	"github.com/sekisho/sekisho/internal/agent/work"
)

const maxAttachment = 64 << 20 // bytes

// output is a line that a process of the step wrote.
func (s *step) output(line string, cut int64) {
	if !strings.Contains(line, "##") {
		s.log.one(line, cut)
		return
	}
	c, ok, almost := command.Parse(line)
	switch {
	case ok && cut > 0:
		s.Error(fmt.Sprintf("##vso[%s] was not obeyed: its line is longer than %d bytes", c.Name(), maxCommand))
		s.Complete(work.Failed, "", false)
	case ok:
		if err := command.Do(s.j.tell, s, c, s.restrict); err != nil {
			s.Error(err.Error())
			s.Complete(work.Failed, "", false)
		}
	default:
		if tag, text := command.Tagged(line); tag == command.Debug {
			s.Debug(text)
			return
		}
		s.log.one(line, cut)
		if almost {
			s.Debug("The line above has ##vso in it and is no logging command.")
		}
	}
}

// Line and the next ones are task.Log.
func (s *step) Line(text string)    { s.log.Line(text) }
func (s *step) Section(text string) { s.log.Line(command.Section.String(text)) }
func (s *step) Command(text string) { s.log.Line(command.Run.String(text)) }

func (s *step) Warning(text string) { s.Issue(work.Issue{Type: "warning", Message: text}) }
func (s *step) Error(text string)   { s.Issue(work.Issue{Type: "error", Message: text}) }
func (s *step) Warn(text string)    { s.Warning(text) }

func (s *step) Debug(text string) {
	if s.j.vars.is("system.debug") {
		s.log.Line(command.Debug.String(text))
	}
}

func (s *step) Group(title string) func() {
	s.log.Line(command.Group.String(title))
	return func() { s.log.Line(command.End.String("")) }
}

// Issue logs an error or a warning. The record keeps the first ones.
func (s *step) Issue(i work.Issue) {
	tag := command.Warning
	if i.Type == "error" {
		tag = command.Error
	}
	if i.Source != "" {
		if rel, err := filepath.Rel(s.j.dirs.Sources, i.Source); err == nil && filepath.IsAbs(i.Source) && within(s.j.dirs.Sources, i.Source) {
			i.Source = filepath.ToSlash(rel)
		}
		s.log.Line(tag.String(fmt.Sprintf("%s(%s,%s): %s %s: %s", i.Source, i.Line, i.Column, i.Type, i.Code, i.Message)))
	} else {
		s.log.Line(tag.String(i.Message))
	}
	s.mu.Lock()
	s.counts[i.Type]++
	keep := s.counts[i.Type] <= maxIssues
	if keep {
		s.rec.Issues = append(s.rec.Issues, i)
	}
	s.mu.Unlock()
	if keep {
		s.put()
	}
}

// Secret has a value masked.
func (s *step) Secret(value string) error { return s.j.masker.Add(value) }

// taskLog is a step as its task's log.
type taskLog struct{ *step }

// Secret has a value masked. A task can't fail over it, so what can't be masked ends the job.
func (l taskLog) Secret(value string) {
	if err := l.j.masker.Add(value); err != nil {
		l.Error(err.Error())
		l.j.merge(work.Failed, err.Error())
		l.j.stop(err)
	}
}

func (s *step) Progress(percent int, operation string) {
	s.mu.Lock()
	s.rec.Progress, s.rec.Operation = percent, operation
	s.mu.Unlock()
	s.put()
}

// Complete sets the step's result, never to a better one.
func (s *step) Complete(r work.Result, message string, done bool) {
	s.mu.Lock()
	if s.result == "" || worse(r, s.result) || r == work.Skipped && s.result == work.Succeeded {
		s.result = r
	}
	force := s.force
	if message != "" {
		s.rec.Operation = message
	}
	s.mu.Unlock()
	if done {
		force(errForced)
	}
}

// Variable sets a variable of the job. An output goes by the step's name too.
func (s *step) Variable(v work.Variable, output bool) error {
	v.From = "step " + s.rec.DisplayName
	if !output {
		return s.j.vars.set(v)
	}
	if s.def.Name == "" { // no other job can name it then; tasks set outputs without asking for a name
		return s.j.vars.set(v)
	}
	named := v
	named.Name = s.def.Name + "." + v.Name
	if err := s.j.vars.set(named); err != nil {
		return err
	}
	// Other jobs, which don't have the secret that this one's masker knows, and the server get it as what it is.
	v.Secret = v.Secret || s.j.masker.Contains(v.Value)
	s.mu.Lock()
	replaced := false
	for i := range s.rec.Outputs {
		if strings.EqualFold(s.rec.Outputs[i].Name, v.Name) {
			s.rec.Outputs[i], replaced = v, true
		}
	}
	if !replaced {
		s.rec.Outputs = append(s.rec.Outputs, v)
	}
	s.mu.Unlock()
	s.put()
	return nil
}

// TaskVariable sets a variable of the step's task.
func (s *step) TaskVariable(v work.Variable) error {
	s.j.notes.Lock()
	scope := s.j.taskVars[strings.ToLower(s.def.Task)]
	s.j.notes.Unlock()
	if scope == nil {
		return errors.New("the step has no task")
	}
	return scope.set(v)
}

// file opens a file that the step names. A step in a container names files of the container: only what both see is
// opened, and a link that leads out of that is not followed.
func (s *step) file(name string) (string, error) {
	if !filepath.IsAbs(name) {
		name = filepath.Join(s.j.dirs.Sources, name)
	}
	if s.host == nil || !s.host.Container() {
		return name, nil
	}
	real, err := filepath.EvalSymlinks(s.host.Outside(name))
	if err != nil {
		return "", fmt.Errorf("%s is not there, or is not on a folder that the container shares with the agent", name)
	}
	for _, dir := range []string{s.j.dirs.Pipeline, s.j.dirs.Temp, s.j.dirs.Tools} {
		if within(dir, real) {
			return real, nil
		}
	}
	return "", fmt.Errorf("%s is not on a folder that the container shares with the agent", name)
}

// maskedServer takes secrets from what tasks attach: reports quote what programs printed.
type maskedServer struct {
	work.Server
	masker *mask.Masker
}

func (m maskedServer) Attach(ctx context.Context, a work.Attachment) error {
	a.Name, a.Data = m.masker.String(a.Name), []byte(m.masker.String(string(a.Data)))
	return m.Server.Attach(ctx, a)
}

func (s *step) Attach(ctx context.Context, kind, name, file string) error {
	path, err := s.file(file)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return fmt.Errorf("there is no file %s", file)
	}
	if info.Size() > maxAttachment {
		return fmt.Errorf("%s has %d bytes, and an attachment at most %d: publish it as an artifact", file, info.Size(), maxAttachment)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if strings.EqualFold(kind, command.Summary) || strings.EqualFold(kind, command.Log) {
		data = []byte(s.j.masker.String(string(data))) // people read these in the run's page
	}
	return s.j.server.Attach(ctx, work.Attachment{Step: s.def.ID, Type: kind, Name: s.j.masker.String(name), Data: data})
}

func (s *step) PrependPath(dir string) error {
	s.j.notes.Lock()
	defer s.j.notes.Unlock()
	list := s.j.prepend[:0:0]
	for _, d := range s.j.prepend {
		if d != dir {
			list = append(list, d)
		}
	}
	s.j.prepend = append(list, dir)
	return nil
}

// hasSecrets reports whether a connection holds what is not for everybody.
func hasSecrets(e *work.Endpoint) bool {
	for k, v := range e.Auth {
		if v != "" && !publicParameter(k) {
			return true
		}
	}
	return false
}

// sameHost reports whether two URLs lead to one host in one way.
func sameHost(a, b string) bool {
	x, err := url.Parse(a)
	y, yerr := url.Parse(b)
	return err == nil && yerr == nil && x.Scheme == y.Scheme && strings.EqualFold(x.Host, y.Host)
}

// Endpoint changes a service connection for the rest of the job.
func (s *step) Endpoint(id, field, key, value string) error {
	s.j.notes.Lock()
	defer s.j.notes.Unlock()
	for i := range s.j.Endpoints {
		e := &s.j.Endpoints[i]
		if !strings.EqualFold(e.ID, id) {
			continue
		}
		switch field {
		case "url":
			// What a step prints may come from elsewhere, and the next task would send the secrets there.
			if !sameHost(e.URL, value) && hasSecrets(e) {
				return fmt.Errorf("the service connection %s has secrets, which are for %s: it can't be led to another host", e.Name, cmp.Or(e.URL, "this server"))
			}
			e.URL = value
		case "authparameter":
			e.Auth[key] = value
		case "dataparameter":
			e.Data[key] = value
		}
		return nil
	}
	return fmt.Errorf("there is no service connection %q that this job may use", id)
}

func (s *step) RunNumber(ctx context.Context, number string) error {
	if err := s.j.server.SetRunNumber(ctx, s.j.masker.String(number)); err != nil {
		return err
	}
	return s.j.vars.define(work.Variable{Name: "Build.BuildNumber", Value: number, ReadOnly: true, From: "step " + s.rec.DisplayName})
}

func (s *step) Tag(ctx context.Context, tag string) error {
	return s.j.server.AddTag(ctx, s.j.masker.String(tag))
}

// Upload adds a file, or the files of a folder, to an artifact.
func (s *step) Upload(ctx context.Context, artifact, folder, file string, properties map[string]string) error {
	root, err := s.file(file)
	if err != nil {
		return err
	}
	if strings.Contains("/"+folder+"/", "/../") {
		return fmt.Errorf("the folder %q leads out of the artifact", folder)
	}
	base := filepath.Dir(root)
	if info, err := os.Stat(root); err == nil && info.IsDir() {
		base = root
	}
	n := 0
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err // links are not followed: they may lead anywhere
		}
		rel, err := filepath.Rel(base, p)
		if err != nil {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		n++
		return s.j.server.PutFile(ctx, artifact, "container", path.Join(folder, filepath.ToSlash(rel)), info.Size(), f)
	})
	if err != nil {
		return err
	}
	if n == 0 {
		s.Warning(fmt.Sprintf("%s has no files: nothing is added to the artifact %s", file, artifact))
		return nil
	}
	return s.j.server.FinishArtifact(ctx, artifact, "container", properties)
}

// Associate records an artifact that lies elsewhere.
func (s *step) Associate(ctx context.Context, artifact, kind, location string, properties map[string]string) error {
	p := cloneMap(properties)
	p["type"], p["location"] = kind, s.j.masker.String(location)
	return s.j.server.FinishArtifact(ctx, artifact, "container", p)
}

// Record shows a record below the step.
func (s *step) Record(d command.Detail) error {
	s.mu.Lock()
	rec, ok := s.details[d.ID]
	if !ok {
		if d.Name == "" || d.Kind == "" {
			s.mu.Unlock()
			return errors.New("the first time a record is named, it needs name and type")
		}
		if len(s.details) >= maxDetails {
			s.mu.Unlock()
			return fmt.Errorf("a step can't have more than %d records", maxDetails)
		}
		rec = &work.Record{Step: s.def.ID + "." + strings.Map(safe, d.ID), Order: s.rec.Order, Started: s.j.opts.Clock.Now(), State: work.InProgress}
		s.details[d.ID] = rec
	}
	if d.Name != "" {
		rec.DisplayName = s.j.masker.String(d.Name)
	}
	if d.State != "" {
		rec.State = d.State
	}
	if d.Result != "" {
		rec.Result = d.Result
	}
	rec.Progress, rec.Operation = max(rec.Progress, d.Progress), s.j.masker.String(d.Operation)
	if rec.State == work.Completed {
		rec.Progress, rec.Finished = 100, s.j.opts.Clock.Now()
		if rec.Result == "" {
			rec.Result = work.Succeeded
		}
	}
	send := *rec
	s.mu.Unlock()
	s.j.records.put(send)
	return nil
}

func safe(r rune) rune {
	if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '-' {
		return r
	}
	return '-'
}
