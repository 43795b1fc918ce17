package project

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
)

var (
	projectName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	itemName     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}$`)
	folderName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}(/[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}){0,7}$`)
	variableName = regexp.MustCompile(`^[A-Za-z0-9_.][A-Za-z0-9_. -]{0,254}$`)
)

const maxDescription = 2048

// item is a kind of things that a project has.
type item struct {
	table   string
	noun    string // in messages
	action  string // in names of actions
	segment string // in ARNs
	most    int    // in a project
}

// These are constants.
var (
	pipelineItem    = &item{"pipelines", "pipeline", "Pipeline", "pipeline", 5000}
	groupItem       = &item{"variable_groups", "variable group", "VariableGroup", "variables", 1000}
	connectionItem  = &item{"service_connections", "service connection", "Connection", "connection", 1000}
	environmentItem = &item{"environments", "environment", "Environment", "environment", 1000}
)

// ProjectARN returns the ARN of a project.
func (s *Service) ProjectARN(account, project string) string {
	return "arn:aws:pipelines:" + s.o.Region + ":" + account + ":project/" + project
}

func (s *Service) arn(account, project string, it *item, name string) string {
	return s.ProjectARN(account, project) + "/" + it.segment + "/" + name
}

// ARN returns the ARN of a pipeline.
func (p *Pipeline) ARN(region string) string {
	return "arn:aws:pipelines:" + region + ":" + p.Account + ":project/" + p.Project + "/pipeline/" + p.Name
}

func checkProjectName(name string) error {
	if !projectName.MatchString(name) || strings.HasSuffix(name, ".") {
		return errorf(Invalid, "name", "%.80q is no name of a project: it has 1 to 63 letters, digits, dots, dashes and underscores, and begins with a letter or digit", name)
	}
	if _, err := uuid.Parse(name); err == nil {
		return errorf(Invalid, "name", "a name that looks like an id would be taken for one")
	}
	return nil
}

func checkItemName(it *item, name string) error {
	if !itemName.MatchString(name) || strings.HasSuffix(name, " ") || strings.HasSuffix(name, ".") {
		return errorf(Invalid, "name", "%.80q is no name of a %s: it has 1 to 63 letters, digits, spaces, dots, dashes and underscores, begins with a letter or digit, and ends with no space or dot", name, it.noun)
	}
	if _, err := uuid.Parse(name); err == nil {
		return errorf(Invalid, "name", "a name that looks like an id would be taken for one")
	}
	if it == environmentItem && strings.Contains(name, ".") { // a pipeline would name a resource of an environment with it
		return errorf(Invalid, "name", "%q has a dot, after which pipelines name a resource of an environment: use a dash", name)
	}
	return nil
}

// checkRef refuses what can be neither a name nor an id. It keeps nonsense from ARNs and the database.
func checkRef(noun, ref string) error {
	if !itemName.MatchString(ref) {
		return errorf(Invalid, "", "%.80q is neither the name nor the id of a %s", ref, noun)
	}
	return nil
}

func checkText(field, text string, most int) error {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }) {
		return errorf(Invalid, field, "it has characters that are not text")
	}
	if n := utf8.RuneCountInString(text); n > most {
		return errorf(Invalid, field, "it has %d characters, and may have %d", n, most)
	}
	return nil
}
