package lint

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/sekisho/sekisho/internal/iam/policy"
)

var (
	accountForm    = regexp.MustCompile(`^[0-9]{12}$`)
	variableForm   = regexp.MustCompile(`\$\{[^}]*\}`)
	secretSuffix   = regexp.MustCompile(`-[A-Za-z0-9]{6}$`)
	repositoryForm = regexp.MustCompile(`^[a-z0-9._/*?-]+$`) // a part of a name, with wildcards
)

// resources finds what Resource names and nothing is called.
func (c *checker) resources(st *statement) {
	if st.Resources == nil {
		return
	}
	if c.kind == Repository {
		c.on(st, Error, "resource-in-repository-policy", st.Resources[0].Position, "Remove the element.",
			"a repository's policy is about the repository that it is on and names no Resource: the server refuses it")
		return
	}
	patterns := make([]string, len(st.Resources))
	wrong := false
	for i, t := range st.Resources {
		patterns[i] = c.resourcePattern(t.Text)
		if t.Text == "*" && st.NotResource {
			st.dead = true
			c.on(st, Error, "never-matches", t.Position, "Write Resource, or name the resources that are to be left out.", `NotResource "*" leaves out every resource: the statement matches nothing`)
		}
		if problem, fix := resourceProblem(patterns[i]); problem != "" {
			wrong = true
			c.on(st, Error, "resource-form", t.Position, fix, "nothing is called %q: %s", t.Text, problem)
			continue
		}
		if !st.Deny && !st.NotResource && !strings.Contains(t.Text, "${") && wildType(patterns[i]) {
			wrong = true
			c.on(st, Warning, "resource-type-wildcard", t.Position, "Write the type out, as in repository/*.", "the type of a resource can't have wildcards: %q allows nothing", t.Text)
		}
		if strings.HasPrefix(t.Text, "arn:aws:secretsmanager:") && !wild(t.Text) && !strings.Contains(t.Text, "${") && !secretSuffix.MatchString(t.Text) {
			c.on(st, Warning, "secret-suffix", t.Position, "Write "+t.Text+"-??????", "the ARN of a secret ends with a hyphen and six characters that the server chooses: %q names none that is there", t.Text)
		}
	}
	if !st.NotResource && !wrong {
		c.fitting(st, patterns)
	}
}

// resourcePattern returns what an entry of Resource is matched as: completed, with a wildcard for every variable.
func (c *checker) resourcePattern(s string) string {
	if c.variables {
		s = variableForm.ReplaceAllString(s, "*")
	}
	if strings.HasPrefix(s, "arn:") {
		s += strings.Repeat(":*", max(0, 5-strings.Count(s, ":")))
	}
	return s
}

// resourceProblem says why nothing of the services here can have an ARN.
func resourceProblem(pattern string) (problem, fix string) {
	p := strings.SplitN(pattern, ":", 6)
	if len(p) < 6 || !isService(p[2]) {
		return "", ""
	}
	service, region, owner, name := p[2], p[3], p[4], p[5]
	switch global := service == "iam" || service == "sts"; {
	case global && strings.Trim(region, "*") != "":
		return service + " has no regions", "Write arn:aws:" + service + "::" + owner + ":" + name
	case !global && region == "":
		return "the region is missing", "Write the region, or * for all."
	case !global && owner == "" || service == "iam" && owner == "" && name != "*":
		return "the account is missing", "Write the account's 12 digits, or * for all."
	case !wild(owner) && owner != "" && !accountForm.MatchString(owner) && !(service == "iam" && owner == "aws"):
		return owner + " is no account, which has 12 digits", "Write the account's 12 digits, or * for all."
	case wild(owner) && !overlap(owner, "????????????") && !(service == "iam" && overlap(owner, "aws")):
		return "no account, which has 12 digits, matches " + owner, "Write the account's 12 digits, or * for all."
	}
	switch service {
	case "ecr":
		return repositoryProblem(name)
	case "secretsmanager":
		if !overlap(name, "secret:*") {
			return "secrets are called secret:<name>-<six characters>", "Write secret:NAME-??????"
		}
	case "iam":
		return identityProblem(name)
	case "agents":
		if !overlap(name, "pool/*") {
			return "pools are called pool/<name>", "Write pool/NAME, or pool/*"
		}
	case "git":
		if !overlap(name, "*/*") {
			return "repositories are called <project>/<name>", "Write PROJECT/NAME, or PROJECT/*"
		}
	case "pipelines":
		return projectProblem(name)
	}
	return "", ""
}

// inProject are the types of what a project has.
var inProject = []string{"connection", "environment", "pipeline", "run", "variables"}

func projectProblem(name string) (problem, fix string) {
	if !overlap(name, "project/*") {
		return "projects are called project/<name>", "Write project/NAME, or project/* for all and what they have"
	}
	rest, ok := strings.CutPrefix(name, "project/")
	_, item, ok2 := strings.Cut(rest, "/")
	kind, _, ok3 := strings.Cut(item, "/")
	switch {
	case !ok || !ok2 || wild(rest[:len(rest)-len(item)]) || wild(kind):
		return "", ""
	case !slices.Contains(inProject, kind):
		fix = "It has " + strings.Join(inProject, ", ") + "."
		if near := closest(kind, inProject); near != "" {
			fix = "Did you mean " + near + "/?"
		}
		return "a project has no " + kind, fix
	case !ok3:
		return "the name is missing", "Write " + kind + "/NAME, or " + kind + "/*"
	}
	return "", ""
}

func repositoryProblem(name string) (problem, fix string) {
	if strings.Trim(name, "*") == "" {
		return "", ""
	}
	if !overlap(name, "repository/*") {
		return "repositories are called repository/<name>", "Write repository/NAME."
	}
	rest, ok := strings.CutPrefix(name, "repository/")
	switch {
	case !ok || rest == "*":
		return "", ""
	case strings.ContainsAny(rest, ":@"):
		return "a resource is a repository, not an image of it", "Leave the tag or digest out: permissions are for all images of a repository."
	case rest != strings.ToLower(rest):
		return "names of repositories have no capitals", "Write repository/" + strings.ToLower(rest)
	case rest == "" || !repositoryForm.MatchString(rest) || strings.HasPrefix(rest, "/") || strings.HasSuffix(rest, "/") || strings.Contains(rest, "//"):
		return "no repository can have this name", "Names are parts of lower-case letters, digits and . _ - with slashes between them."
	case !wild(rest) && (len(rest) < 2 || len(rest) > 256):
		return "names of repositories have 2 to 256 characters", ""
	}
	return "", ""
}

var identityTypes = []string{"user", "group", "role", "policy", "instance-profile", "oidc-provider", "saml-provider", "server-certificate", "mfa", "sms-mfa",
	"access-report", "delegation-request", "assumed-role", "federated-user", "contextProvider"}

func identityProblem(name string) (problem, fix string) {
	kind, _, ok := strings.Cut(name, "/")
	switch {
	case wild(kind) || name == "root":
		return "", ""
	case !slices.Contains(identityTypes, kind):
		if near := closest(kind, identityTypes); near != "" {
			fix = "Did you mean " + near + "/?"
		}
		return "IAM has no " + kind, fix
	case !ok:
		return "the name is missing", "Write " + kind + "/NAME, or " + kind + "/*"
	}
	return "", ""
}

// wildType reports whether a pattern leaves the type of the resource open, but not the name.
func wildType(pattern string) bool {
	p := strings.SplitN(pattern, ":", 6)
	if len(p) < 6 || !isService(p[2]) || ours(p[2]) {
		return false
	}
	i := strings.IndexAny(p[5], "/:")
	if i < 0 || strings.Trim(p[5], "*/:") == "" {
		return false
	}
	return wild(p[5][:i])
}

// fitting finds actions that are never on a resource of the list, and resources that no action of the list is on.
func (c *checker) fitting(st *statement, patterns []string) {
	if st.NotAction || c.kind == Registry && len(st.local) == 0 {
		return
	}
	used := make([]bool, len(patterns))
	var lost []policy.Text
	foreign := false
	fitting := map[string]bool{}
	fit := func(form string) bool { // reports whether a pattern has room for it
		if fits, ok := fitting[form]; ok {
			return fits
		}
		fits := false
		for i, pattern := range patterns {
			if overlap(pattern, form) {
				used[i], fits = true, true
			}
		}
		fitting[form] = fits
		return fits
	}
	for _, t := range st.Actions {
		if !isService(serviceOf(t.Text)) {
			foreign = true // nothing is known of it
			continue
		}
		known, fits := false, false
		for _, a := range c.expand(t.Text) {
			known = true
			for _, form := range a.forms {
				fits = fit(form) || fits
			}
		}
		if known && !fits {
			lost = append(lost, t)
		}
	}
	for _, t := range lost {
		a := c.expand(t.Text)[0]
		problem, fix := "is never on "+st.Resources[0].Text, fmt.Sprintf("Its resources are such as %s.", strings.ReplaceAll(a.forms[0], literalStar, "*"))
		if len(st.Resources) > 1 {
			problem = "is on none of the statement's resources"
		}
		if a.forms[0] == literalStar {
			problem, fix = `has no resource: only Resource "*" matches it`, `Put it into a statement with Resource "*".`
		}
		severity := Warning
		if len(lost) == len(st.Actions) {
			severity = Error
			problem += "; the statement never matches"
			st.dead = true
		}
		c.on(st, severity, "resource-mismatch", t.Position, fix, "%s %s", t.Text, problem)
	}
	for i, t := range st.Resources {
		if !used[i] && !foreign && len(lost) < len(st.Actions) && len(st.local) > 0 {
			c.on(st, Warning, "resource-unused", t.Position, "Remove it, or add the actions that were meant.", "none of the statement's actions is ever on %q", t.Text)
		}
	}
}

// literalVariables finds what looks like a policy variable and is none.
func (c *checker) literalVariables(st *statement) {
	if c.doc.Version == "2012-10-17" {
		return
	}
	look := func(all []policy.Text) {
		for _, t := range all {
			if v := variableForm.FindString(t.Text); strings.Contains(v, ":") {
				c.on(st, Warning, "version-variables", t.Position, `Write "Version": "2012-10-17".`, "%s stands for itself, because the document has not the Version in which there are variables", v)
			}
		}
	}
	look(st.Resources)
	for _, t := range st.Tests {
		look(t.Values)
	}
}
