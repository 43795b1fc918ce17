package task

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/sekisho/sekisho/internal/agent/work"
)

// Limits of reports, which programs of the job wrote.
const (
	maxReport   = 64 << 20 // bytes
	maxFailures = 1000     // of one report that are told one by one
	maxMessage  = 4 << 10  // bytes
)

// PublishTestResults is PublishTestResults@2, for reports in JUnit's form.
func PublishTestResults(ctx context.Context, c *Context) error {
	if f := c.Inputs.Get("testResultsFormat", "testRunner"); f != "" && !strings.EqualFold(f, "JUnit") {
		return fmt.Errorf("testResultsFormat: %s is not done here, only JUnit: most test runners can write it", f)
	}
	folder := c.folder(c.Dirs.Sources, "searchFolder")
	p, err := c.contents("**/TEST-*.xml", "testResultsFiles")
	if err != nil {
		return err
	}
	files, err := c.findAnywhere(ctx, folder, p)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		message := "no test result files are like " + strings.Join(p, ", ") + " below " + folder
		if c.Inputs.Bool(false, "failTaskOnMissingResultsFile") {
			return errors.New(message)
		}
		c.Log.Warning(message)
		return ErrIssues
	}
	var runs []*work.TestRun
	for _, f := range files {
		run, err := readJUnit(f.path)
		if err != nil {
			err = fmt.Errorf("%s: %w", f.name, err)
			if c.Inputs.Bool(false, "failTaskOnFailureToPublishResults") {
				return err
			}
			c.Log.Warning(err.Error())
			continue
		}
		run.Title = f.name
		if title := c.Inputs.Get("testRunTitle"); title != "" {
			run.Title = title
			if len(files) > 1 && !c.Inputs.Bool(false, "mergeTestResults") {
				run.Title = title + " " + strconv.Itoa(len(runs)+1)
			}
		}
		runs = append(runs, run)
	}
	if c.Inputs.Bool(false, "mergeTestResults") && len(runs) > 1 {
		runs = []*work.TestRun{merge(runs)}
	}
	failed := 0
	for _, run := range runs {
		text, err := json.Marshal(run)
		if err != nil {
			return err
		}
		if err := c.Server.Attach(ctx, work.Attachment{Step: c.Step.ID, Type: work.TestsAttachment, Name: run.Title, Data: text}); err != nil {
			return fmt.Errorf("publish %s: %w", run.Title, err)
		}
		c.Log.Line(fmt.Sprintf("%s: %d tests, %d passed, %d failed, %d skipped", run.Title, run.Total, run.Passed, run.Failed, run.Skipped))
		for i, f := range run.Failures {
			if i == 10 {
				c.Log.Line("…")
				break
			}
			c.Log.Line("failed: " + strings.TrimPrefix(f.Suite+"."+f.Name, ".") + ": " + firstLine(f.Message))
		}
		failed += run.Failed
	}
	if failed > 0 && c.Inputs.Bool(false, "failTaskOnFailedTests") {
		return fmt.Errorf("%d tests failed", failed)
	}
	return nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// merge makes one run of several.
func merge(runs []*work.TestRun) *work.TestRun {
	all := *runs[0]
	for _, r := range runs[1:] {
		all.Total += r.Total
		all.Passed += r.Passed
		all.Failed += r.Failed
		all.Skipped += r.Skipped
		all.Seconds += r.Seconds
		all.Failures = append(all.Failures, r.Failures...)
	}
	all.Failures = all.Failures[:min(len(all.Failures), maxFailures)]
	return &all
}

// junitCase is a test case of a report in JUnit's form.
type junitCase struct {
	Name    string      `xml:"name,attr"`
	Class   string      `xml:"classname,attr"`
	Time    string      `xml:"time,attr"`
	Failure *junitFault `xml:"failure"`
	Error   *junitFault `xml:"error"`
	Skipped *struct{}   `xml:"skipped"`
}

type junitFault struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// readJUnit counts the cases of a report itself: what suites say of their sums is not always so.
func readJUnit(path string) (*work.TestRun, error) {
	d, closer, err := openXML(path)
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	run, suite, root := &work.TestRun{}, "", ""
	for {
		t, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		s, ok := t.(xml.StartElement)
		if !ok {
			continue
		}
		if root == "" {
			root = s.Name.Local
		}
		switch s.Name.Local {
		case "testsuite":
			suite = attribute(s, "name")
		case "testcase":
			var tc junitCase
			if err := d.DecodeElement(&tc, &s); err != nil {
				return nil, err
			}
			add(run, suite, &tc)
		}
	}
	if root != "testsuites" && root != "testsuite" {
		return nil, fmt.Errorf("it is no report in JUnit's form: its root is <%s>", root)
	}
	return run, nil
}

func add(run *work.TestRun, suite string, tc *junitCase) {
	run.Total++
	if seconds, err := strconv.ParseFloat(strings.ReplaceAll(tc.Time, ",", ""), 64); err == nil && seconds > 0 && seconds < 1e9 {
		run.Seconds += seconds
	}
	fault := tc.Failure
	if fault == nil {
		fault = tc.Error
	}
	switch {
	case fault != nil:
		run.Failed++
		if len(run.Failures) < maxFailures {
			if tc.Class != "" {
				suite = tc.Class
			}
			run.Failures = append(run.Failures, work.TestFailure{Suite: cut(suite), Name: cut(tc.Name), Message: cut(fault.Message), Detail: cut(strings.TrimSpace(fault.Text))})
		}
	case tc.Skipped != nil:
		run.Skipped++
	default:
		run.Passed++
	}
}

// cut shortens a text to what is kept of it.
func cut(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	return strings.ToValidUTF8(s[:maxMessage], "") + "…"
}

func attribute(s xml.StartElement, name string) string {
	for _, a := range s.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// openXML returns a decoder that reads no more than a report may have.
func openXML(path string) (*xml.Decoder, io.Closer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	if info, err := f.Stat(); err != nil || info.Size() > maxReport {
		f.Close()
		return nil, nil, errors.Join(err, fmt.Errorf("it has over %d bytes", maxReport))
	}
	d := xml.NewDecoder(io.LimitReader(f, maxReport))
	d.Strict = true
	d.CharsetReader = func(charset string, in io.Reader) (io.Reader, error) {
		switch strings.ToLower(charset) {
		case "us-ascii", "ascii":
			return in, nil
		case "iso-8859-1", "latin1", "windows-1252":
			return latin1{in}, nil
		}
		return nil, fmt.Errorf("the encoding %s is not known here; write UTF-8", charset)
	}
	return d, f, nil
}

// latin1 reads ISO 8859-1 as UTF-8.
type latin1 struct{ r io.Reader }

func (l latin1) Read(p []byte) (int, error) {
	half := make([]byte, max(len(p)/2, 1))
	n, err := l.r.Read(half)
	out := bytes.NewBuffer(p[:0])
	for _, b := range half[:n] {
		out.WriteRune(rune(b))
	}
	return copy(p, out.Bytes()), err
}

// PublishCodeCoverageResults is PublishCodeCoverageResults@1 and @2, for reports in the forms of Cobertura and JaCoCo.
func PublishCodeCoverageResults(ctx context.Context, c *Context) error {
	p, err := c.contents("", "summaryFileLocation")
	if err != nil {
		return err
	}
	if len(p) == 0 {
		return errors.New("input required: summaryFileLocation")
	}
	files, err := c.findAnywhere(ctx, c.Dirs.Sources, p)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		message := "no coverage report is like " + strings.Join(p, ", ")
		if c.Inputs.Bool(false, "failIfCoverageEmpty") {
			return errors.New(message)
		}
		c.Log.Warning(message)
		return ErrIssues
	}
	var sum work.Coverage
	for _, f := range files {
		one, err := readCoverage(f.path)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		sum.Tool = one.Tool
		sum.Lines += one.Lines
		sum.LinesCovered += one.LinesCovered
		sum.Branches += one.Branches
		sum.BranchesCovered += one.BranchesCovered
	}
	if sum.Lines == 0 && c.Inputs.Bool(false, "failIfCoverageEmpty") {
		return errors.New("the coverage reports are empty")
	}
	text, err := json.Marshal(sum)
	if err != nil {
		return err
	}
	c.Log.Line(fmt.Sprintf("%s: %d of %d lines, %d of %d branches", sum.Tool, sum.LinesCovered, sum.Lines, sum.BranchesCovered, sum.Branches))
	return c.Server.Attach(ctx, work.Attachment{Step: c.Step.ID, Type: work.CoverageAttachment, Name: "coverage", Data: text})
}

// readCoverage reads the sums at the root of a report.
func readCoverage(path string) (*work.Coverage, error) {
	d, closer, err := openXML(path)
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	for {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		s, ok := t.(xml.StartElement)
		if !ok {
			continue
		}
		switch s.Name.Local {
		case "coverage":
			return cobertura(s)
		case "report":
			return jacoco(d)
		}
		return nil, fmt.Errorf("it is neither Cobertura's form nor JaCoCo's: its root is <%s>", s.Name.Local)
	}
}

func cobertura(s xml.StartElement) (*work.Coverage, error) {
	c := &work.Coverage{Tool: "Cobertura"}
	for name, to := range map[string]*int64{"lines-valid": &c.Lines, "lines-covered": &c.LinesCovered, "branches-valid": &c.Branches, "branches-covered": &c.BranchesCovered} {
		text := attribute(s, name)
		if text == "" {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%s is %q, which is no number of lines", name, text)
		}
		*to = n
	}
	return c, nil
}

// jacoco reads the counters that stand right below the report.
func jacoco(d *xml.Decoder) (*work.Coverage, error) {
	c := &work.Coverage{Tool: "JaCoCo"}
	for depth := 0; ; {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case xml.StartElement:
			if depth == 0 && t.Name.Local == "counter" {
				missed, err := strconv.ParseInt(attribute(t, "missed"), 10, 64)
				if err != nil {
					return nil, errors.New("a counter does not say what was missed")
				}
				covered, err := strconv.ParseInt(attribute(t, "covered"), 10, 64)
				if err != nil {
					return nil, errors.New("a counter does not say what was covered")
				}
				switch attribute(t, "type") {
				case "LINE":
					c.Lines, c.LinesCovered = missed+covered, covered
				case "BRANCH":
					c.Branches, c.BranchesCovered = missed+covered, covered
				}
			}
			depth++
		case xml.EndElement:
			if depth--; depth < 0 {
				return c, nil
			}
		}
	}
}
