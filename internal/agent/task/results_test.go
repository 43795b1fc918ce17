package task_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sekisho/sekisho/internal/agent/task"
	"github.com/sekisho/sekisho/internal/agent/work"
)

const junit = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="99"><testsuite name="pkg" tests="4">
<testcase classname="pkg.A" name="good" time="1.5"/>
<testcase classname="pkg.A" name="bad" time="0.5"><failure message="1 is not 2">at line 3</failure></testcase>
<testcase name="broken"><error message="no such file"/></testcase>
<testcase classname="pkg.A" name="later"><skipped/></testcase>
</testsuite></testsuites>`

func TestTestResults(t *testing.T) {
	s := newStep(t)
	s.file("out/TEST-a.xml", junit)
	if err := s.run("PublishTestResults@2"); err != nil {
		t.Fatal(err)
	}
	var got work.TestRun
	if len(s.server.attachments) != 1 || s.server.attachments[0].Type != work.TestsAttachment || json.Unmarshal(s.server.attachments[0].Data, &got) != nil {
		t.Fatalf("attachments %+v", s.server.attachments)
	}
	want := work.TestRun{Title: "out/TEST-a.xml", Total: 4, Passed: 1, Failed: 2, Skipped: 1, Seconds: 2, Failures: []work.TestFailure{
		{Suite: "pkg.A", Name: "bad", Message: "1 is not 2", Detail: "at line 3"}, {Suite: "pkg", Name: "broken", Message: "no such file"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := s.run("PublishTestResults@2", "failTaskOnFailedTests", "true"); err == nil || !strings.Contains(err.Error(), "2 tests failed") {
		t.Errorf("error %v", err)
	}
	s.file("out/TEST-b.xml", junit)
	s.server.attachments = nil
	if err := s.run("PublishTestResults@2", "mergeTestResults", "true", "testRunTitle", "all"); err != nil {
		t.Fatal(err)
	}
	if len(s.server.attachments) != 1 || json.Unmarshal(s.server.attachments[0].Data, &got) != nil || got.Total != 8 || got.Title != "all" {
		t.Errorf("merged: %+v", got)
	}
}

func TestNoTestResults(t *testing.T) {
	s := newStep(t)
	if err := s.run("PublishTestResults@2"); !errors.Is(err, task.ErrIssues) {
		t.Errorf("error %v, want issues", err)
	}
	if err := s.run("PublishTestResults@2", "failTaskOnMissingResultsFile", "true"); err == nil || errors.Is(err, task.ErrIssues) {
		t.Errorf("error %v, want a failure", err)
	}
	for name, text := range map[string]string{"html": "<html></html>", "cut": junit[:200], "none": "", "doctype": `<!DOCTYPE x [<!ENTITY a "b">]><testsuite>&a;</testsuite>`} {
		s.file("TEST-x.xml", text)
		if err := s.run("PublishTestResults@2", "failTaskOnFailureToPublishResults", "true"); err == nil {
			t.Errorf("%s was published", name)
		}
	}
	if err := s.run("PublishTestResults@2", "testResultsFormat", "NUnit"); err == nil || !strings.Contains(err.Error(), "NUnit") {
		t.Errorf("error %v", err)
	}
}

func TestCoverage(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want work.Coverage
	}{
		"cobertura": {`<?xml version="1.0"?><!DOCTYPE coverage SYSTEM "x.dtd"><coverage lines-valid="10" lines-covered="7" branches-valid="4" branches-covered="1"><packages/></coverage>`,
			work.Coverage{Tool: "Cobertura", Lines: 10, LinesCovered: 7, Branches: 4, BranchesCovered: 1}},
		"jacoco": {`<report name="x"><package name="p"><counter type="LINE" missed="100" covered="100"/></package><counter type="LINE" missed="3" covered="7"/><counter type="BRANCH" missed="2" covered="2"/></report>`,
			work.Coverage{Tool: "JaCoCo", Lines: 10, LinesCovered: 7, Branches: 4, BranchesCovered: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStep(t)
			s.file("cov/report.xml", tt.text)
			if err := s.run("PublishCodeCoverageResults@2", "summaryFileLocation", "cov/*.xml"); err != nil {
				t.Fatal(err)
			}
			var got work.Coverage
			if err := json.Unmarshal(s.server.attachments[0].Data, &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTools(t *testing.T) {
	s := newStep(t)
	if _, err := s.Look("python3"); err != nil {
		t.Skip("SKIPPED: python3 is not installed")
	}
	if err := s.run("UsePythonVersion@0", "versionSpec", ">=3.6"); err != nil {
		t.Fatal(err)
	}
	if len(s.prepended) != 1 || s.outputs["pythonLocation"] != s.prepended[0] {
		t.Errorf("PATH gets %v, outputs %v", s.prepended, s.outputs)
	}
	if err := s.run("UsePythonVersion@0", "versionSpec", "2.x"); err == nil || !strings.Contains(err.Error(), "Python 2.x is not installed on this agent (there is 3.") {
		t.Errorf("error %v", err)
	}
	if err := s.run("UsePythonVersion@0", "versionSpec", "newest"); err == nil || !strings.Contains(err.Error(), "no version") {
		t.Errorf("error %v", err)
	}
}
