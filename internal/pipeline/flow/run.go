package flow

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/pipeline"
)

// Run is what is known of a run when it starts. Of all fields but Counter the zero value means: not known.
type Run struct {
	ID        int64
	Number    string // Build.BuildNumber
	Reason    string // "manual", "individualCI", …
	StartTime time.Time
	Schedule  string // display name of the schedule that started it
	QueuedBy  Person
	For       Person // Build.RequestedFor

	Project, ProjectID    string
	Pipeline, PipelineID  string
	PipelineVersion       int64
	ServerURL             string // as agents see it, ending with a slash
	AccountID             string // System.CollectionId
	Repository            Repository
	Ref                   string // "refs/heads/main"
	Commit, CommitMessage string
	PullRequest           *PullRequest
	TriggeredBy           *Trigger
	Resources             []Resource
	Environments          map[string]string          // name in lower case → id
	Settings              []Setting                  // variables of the pipeline's settings
	Queue                 []work.Variable            // variables that were set when the run was started
	Groups                map[string][]work.Variable // variable groups, by name in lower case; From says which

	// Counter gives the value of counter(prefix, seed) for this run: the same each time it is asked, and one more than in
	// the pipeline's last run that asked with this prefix. nil: always the seed.
	Counter func(prefix string, seed int64) (int64, error)
}

// Person is somebody, for people.
type Person struct{ Name, Email, ID string }

// Repository is the one that the pipeline stands in.
type Repository struct{ ID, Name, Provider, URI string }

// PullRequest is what a run of a pull request knows of it.
type PullRequest struct {
	ID, Number                 string
	SourceBranch, TargetBranch string // refs
	SourceCommit               string
	SourceRepository           string // URI
	Fork                       bool
}

// Trigger is the run that started this one.
type Trigger struct {
	BuildID                           int64
	BuildNumber, Pipeline, PipelineID string
	ProjectID                         string
}

// Resource is the run of a pipeline resource that this run uses: resources.pipeline.<alias>.*.
type Resource struct {
	Alias                string
	ProjectID, Project   string
	PipelineID, Pipeline string
	RunID                int64
	RunNumber            string
	RunURI               string
	SourceBranch         string
	SourceCommit         string
	SourceProvider       string
	RequestedFor         string
}

// Setting is a variable of a pipeline's settings.
type Setting struct {
	work.Variable
	Settable bool // may be set when a run is started
}

// checkQueue refuses variables at queue time that somebody fixed.
func (r *Run) checkQueue(plan *pipeline.Plan) error {
	for _, v := range r.Queue {
		if err := CheckQueueVariable(plan, r.Settings, v.Name); err != nil {
			return err
		}
	}
	return nil
}

// CheckQueueVariable reports why a variable may not be set when a run is started.
func CheckQueueVariable(plan *pipeline.Plan, settings []Setting, name string) error {
	if name == "" || strings.ContainsAny(name, "$()\n\r") {
		return fmt.Errorf("the variable name %q is not possible: it must not be empty or hold $, parentheses or line ends", name)
	}
	if strings.EqualFold(name, "system.debug") {
		return nil
	}
	if isReserved(name) {
		return fmt.Errorf("the variable %s can't be set when a run is started: names that begin with %s belong to the system",
			name, name[:strings.IndexByte(name, '.')+1])
	}
	for _, s := range settings {
		if strings.EqualFold(s.Name, name) && !s.Settable {
			return fmt.Errorf("the variable %s can't be set when a run is started: it is a variable of the pipeline's settings "+
				"that does not allow it", s.Name)
		}
	}
	for _, v := range plan.Variables {
		if strings.EqualFold(v.Name, name) {
			return fmt.Errorf("the variable %s can't be set when a run is started: %s sets it. "+
				"Make it a parameter, or a variable of the pipeline's settings", v.Name, v.Pos)
		}
	}
	return nil
}

// isReserved reports whether a name is one that only the system may give.
func isReserved(name string) bool {
	low := strings.ToLower(name)
	for _, prefix := range []string{"agent.", "build.", "release.", "system.", "environment.", "pipeline.", "strategy."} {
		if strings.HasPrefix(low, prefix) && len(low) > len(prefix) {
			return true
		}
	}
	return false
}

const fromSystem = "the system"

type list []work.Variable

func (l *list) add(name, value string) {
	*l = append(*l, work.Variable{Name: name, Value: value, ReadOnly: true, From: fromSystem})
}

// maybe adds a variable that only some runs have.
func (l *list) maybe(name, value string) {
	if value != "" {
		l.add(name, value)
	}
}

// predefined are the variables that a run has in all its stages, those of the agent excepted.
func (r *Run) predefined() list {
	var l list
	l.add("Build.BuildId", strconv.FormatInt(r.ID, 10))
	l.add("Build.BuildNumber", r.Number)
	l.add("Build.BuildUri", fmt.Sprintf("vstfs:///Build/Build/%d", r.ID))
	l.add("Build.ContainerId", strconv.FormatInt(r.ID, 10))
	l.maybe("Build.CronSchedule.DisplayName", r.Schedule)
	l.add("Build.DefinitionName", r.Pipeline)
	l.add("Build.DefinitionVersion", strconv.FormatInt(max(r.PipelineVersion, 1), 10))
	l.add("Build.QueuedBy", r.QueuedBy.Name)
	l.add("Build.QueuedById", r.QueuedBy.ID)
	l.add("Build.Reason", reason(r.Reason))
	l.add("Build.Repository.Clean", "False")
	l.add("Build.Repository.Git.SubmoduleCheckout", "False")
	l.add("Build.Repository.ID", r.Repository.ID)
	l.add("Build.Repository.Name", r.Repository.Name)
	provider := r.Repository.Provider
	if provider == "" {
		provider = "TfsGit"
	}
	l.add("Build.Repository.Provider", provider)
	l.add("Build.Repository.Uri", r.Repository.URI)
	l.add("Build.RequestedFor", r.For.Name)
	l.add("Build.RequestedForEmail", r.For.Email)
	l.add("Build.RequestedForId", r.For.ID)
	l.add("Build.SourceBranch", r.Ref)
	l.add("Build.SourceBranchName", BranchName(r.Ref))
	l.add("Build.SourceVersion", r.Commit)
	l.add("Build.SourceVersionMessage", firstLine(r.CommitMessage))
	if t := r.TriggeredBy; t != nil {
		l.add("Build.TriggeredBy.BuildId", strconv.FormatInt(t.BuildID, 10))
		l.add("Build.TriggeredBy.BuildNumber", t.BuildNumber)
		l.add("Build.TriggeredBy.DefinitionId", t.PipelineID)
		l.add("Build.TriggeredBy.DefinitionName", t.Pipeline)
		l.add("Build.TriggeredBy.ProjectID", t.ProjectID)
	}
	l.add("System.CollectionId", r.AccountID)
	l.add("System.CollectionUri", r.ServerURL)
	l.add("System.DefinitionId", r.PipelineID)
	l.add("System.DefinitionName", r.Pipeline)
	l.add("System.HostType", "build")
	l.add("System.IsScheduled", capital(strings.EqualFold(r.Reason, "schedule")))
	l.add("System.PlanId", strconv.FormatInt(r.ID, 10))
	if p := r.PullRequest; p != nil {
		l.add("System.PullRequest.IsFork", capital(p.Fork))
		l.add("System.PullRequest.PullRequestId", p.ID)
		l.add("System.PullRequest.PullRequestNumber", p.Number)
		l.add("System.PullRequest.SourceBranch", p.SourceBranch)
		l.add("System.PullRequest.SourceCommitId", p.SourceCommit)
		l.add("System.PullRequest.SourceRepositoryURI", p.SourceRepository)
		l.add("System.PullRequest.TargetBranch", p.TargetBranch)
		l.add("System.PullRequest.TargetBranchName", BranchName(p.TargetBranch))
	}
	l.add("System.ServerType", "OnPremises")
	l.add("System.TeamFoundationCollectionUri", r.ServerURL)
	l.add("System.TeamFoundationServerUri", r.ServerURL)
	l.add("System.TeamProject", r.Project)
	l.add("System.TeamProjectId", r.ProjectID)
	l.add("System.TimelineId", strconv.FormatInt(r.ID, 10))
	l.add("TF_BUILD", "True")
	for i := range r.Resources {
		for _, v := range r.Resources[i].variables() {
			l.add("resources.pipeline."+r.Resources[i].Alias+"."+v.Name, v.Value)
		}
	}
	return l
}

// variables are what is known of a resource, without the prefix of their names.
func (p *Resource) variables() list {
	var l list
	l.add("projectID", p.ProjectID)
	l.add("projectName", p.Project)
	l.add("pipelineID", p.PipelineID)
	l.add("pipelineName", p.Pipeline)
	l.add("runID", strconv.FormatInt(p.RunID, 10))
	l.add("runName", p.RunNumber)
	l.add("runURI", p.RunURI)
	l.add("sourceBranch", p.SourceBranch)
	l.add("sourceCommit", p.SourceCommit)
	l.add("sourceProvider", p.SourceProvider)
	l.add("requestedFor", p.RequestedFor)
	return l
}

// reason is a reason as Build.Reason has it, which begins with a capital.
func reason(r string) string {
	if r == "" {
		r = "manual"
	}
	return strings.ToUpper(r[:1]) + r[1:]
}

func capital(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

// BranchName is the last part of a ref: "tools" of refs/heads/feature/tools, "merge" of refs/pull/1/merge.
func BranchName(ref string) string {
	return ref[strings.LastIndexByte(ref, '/')+1:]
}

// firstLine is the first line of a message, or its first 200 characters.
func firstLine(message string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(message), "\n")
	line = strings.TrimRight(line, "\r")
	if runes := []rune(line); len(runes) > 200 {
		line = string(runes[:200])
	}
	return line
}
