package work

// The types of attachments whose content the server reads; all others are only kept.
const (
	SummaryAttachment  = "Distributedtask.Core.Summary" // Markdown
	TestsAttachment    = "sekisho.tests"                // a [TestRun] in JSON
	CoverageAttachment = "sekisho.coverage"             // a [Coverage] in JSON
)

// TestRun is what a report of tests says.
type TestRun struct {
	Title    string        `json:"title"`
	Total    int           `json:"total"`
	Passed   int           `json:"passed"`
	Failed   int           `json:"failed"`
	Skipped  int           `json:"skipped"`
	Seconds  float64       `json:"seconds"`
	Failures []TestFailure `json:"failures"` // the first of them; Failed counts them all
}

// TestFailure is a test that failed.
type TestFailure struct {
	Suite   string `json:"suite"`
	Name    string `json:"name"`
	Message string `json:"message"`
	Detail  string `json:"detail,omitempty"`
}

// Coverage is how much of the code tests reached.
type Coverage struct {
	Tool            string `json:"tool"`
	Lines           int64  `json:"lines"`
	LinesCovered    int64  `json:"linesCovered"`
	Branches        int64  `json:"branches"`
	BranchesCovered int64  `json:"branchesCovered"`
}
