package run

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/sekisho/sekisho/internal/agent/work"
	"github.com/sekisho/sekisho/internal/iam"
)

// TestRun is a published file of test results.
type TestRun struct {
	Name                    string
	Passed, Failed, Skipped int64
	Duration                time.Duration
	Failures                []TestFailure // the first ones
}

// TestFailure is a test that failed.
type TestFailure struct {
	Suite, Name, Message string
	Seconds              float64 `json:",omitempty"`
}

const (
	maxFailures = 50
	maxTests    = 1_000_000
	maxDepth    = 100
)

// Tests tells the test results of a run.
func (s *Service) Tests(ctx context.Context, c *iam.Caller, id int64) ([]TestRun, error) {
	if _, err := s.visible(ctx, c, "DescribeRun", id); err != nil {
		return nil, err
	}
	rows, err := s.db.Query(ctx, `SELECT name, passed, failed, skipped, duration, failures FROM run_tests WHERE run = $1 ORDER BY attachment`, id)
	list, err := collect(rows, err, func(row scanner) (t TestRun, err error) {
		var duration int64
		var failures string
		if err := row.Scan(&t.Name, &t.Passed, &t.Failed, &t.Skipped, &duration, &failures); err != nil {
			return t, err
		}
		t.Duration = time.Duration(duration) * time.Microsecond
		return t, json.Unmarshal([]byte(failures), &t.Failures)
	})
	if err != nil {
		return nil, fmt.Errorf("read test results of run %d: %w", id, err)
	}
	return list, nil
}

// parseTests reads what an agent's task made of a file of test results.
func parseTests(data []byte) (*TestRun, error) {
	var r work.TestRun
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("test results: %w", err)
	}
	if min(r.Passed, r.Failed, r.Skipped) < 0 || max(r.Passed, r.Failed, r.Skipped) > maxTests || !(r.Seconds >= 0 && r.Seconds < 1e9) {
		return nil, errors.New("test results: numbers that no tests have")
	}
	t := &TestRun{Passed: int64(r.Passed), Failed: int64(r.Failed), Skipped: int64(r.Skipped), Duration: time.Duration(r.Seconds * float64(time.Second))}
	for _, f := range r.Failures[:min(len(r.Failures), maxFailures)] {
		t.Failures = append(t.Failures, TestFailure{Suite: clip(f.Suite, maxText), Name: clip(f.Name, maxText), Message: clip(f.Message, 4<<10)})
	}
	return t, nil
}

// parseJUnit counts the tests of a JUnit file. It goes over the file once and keeps nothing but counts and the first
// failures.
func parseJUnit(data []byte) (*TestRun, error) {
	d := xml.NewDecoder(bytes.NewReader(data))
	d.Strict = false
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	t := &TestRun{}
	var suites []string
	var test *TestFailure
	failed, skipped := false, false
	depth := 0
	var message *strings.Builder
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			if depth != 0 || t.Passed+t.Failed+t.Skipped == 0 && len(data) == 0 {
				return nil, errors.New("the file of test results ends early")
			}
			return t, nil
		}
		if err != nil {
			return nil, fmt.Errorf("test results: %w", err)
		}
		switch e := tok.(type) {
		case xml.StartElement:
			if depth++; depth > maxDepth {
				return nil, errors.New("the file of test results is too deep")
			}
			switch e.Name.Local {
			case "testsuite":
				suites = append(suites, attribute(e, "name"))
			case "testcase":
				test = &TestFailure{Suite: attribute(e, "classname"), Name: clip(attribute(e, "name"), maxText)}
				if test.Suite == "" && len(suites) > 0 {
					test.Suite = suites[len(suites)-1]
				}
				test.Suite = clip(test.Suite, maxText)
				if seconds, err := strconv.ParseFloat(strings.ReplaceAll(attribute(e, "time"), ",", ""), 64); err == nil && seconds > 0 && seconds < 1e7 {
					test.Seconds = seconds
					t.Duration += time.Duration(seconds * float64(time.Second))
				}
				failed, skipped = false, false
			case "failure", "error":
				if test != nil {
					failed = true
					test.Message = clip(attribute(e, "message"), 1000)
					message = &strings.Builder{}
				}
			case "skipped":
				skipped = skipped || test != nil
			}
		case xml.CharData:
			if message != nil && message.Len() < 1000 {
				message.Write(e[:min(len(e), 1000)])
			}
		case xml.EndElement:
			depth--
			switch e.Name.Local {
			case "testsuite":
				suites = suites[:max(len(suites)-1, 0)]
			case "failure", "error":
				if test != nil && message != nil && test.Message == "" {
					test.Message = clip(strings.TrimSpace(message.String()), 1000)
				}
				message = nil
			case "testcase":
				if test == nil {
					continue
				}
				switch {
				case failed:
					t.Failed++
					if len(t.Failures) < maxFailures {
						t.Failures = append(t.Failures, *test)
					}
				case skipped:
					t.Skipped++
				default:
					t.Passed++
				}
				if test = nil; t.Passed+t.Failed+t.Skipped > maxTests {
					return nil, fmt.Errorf("the file has more than %d tests", maxTests)
				}
			}
		}
	}
}

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}
