package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/audit"
)

func newWhy(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "why REQUEST_ID",
		Short: "Tell how a refusal came about: every policy that was asked, and what decided",
		Long: `Tell how a refusal came about: who wanted what, from where, every policy that was
asked, and which statement or condition of it matched or did not.

The id is in the refusal, and in the header X-Request-Id of every answer. What was
refused in the last second may not be written yet; in a flood of refusals only the
first of each second are kept.

Another account is told of a refusal as if the resource were not there, where its
policy does not let that account in. What it was told is then below what decided.`,
		Example: `  sekisho why 5c6bjarfti5ng3czx6fztukkdq`,
		Args:    usageOf(cobra.ExactArgs(1)),
		RunE:    func(cmd *cobra.Command, args []string) error { return c.why(cmd, args[0]) },
	}
}

// shownRefusal is a refusal as JSON and YAML show it.
type shownRefusal struct {
	Time        time.Time       `json:"time"`
	Principal   string          `json:"principal"`
	AccessKeyID string          `json:"accessKeyId,omitempty"`
	Action      string          `json:"action"`
	Resource    string          `json:"resource"`
	Source      netip.Addr      `json:"source,omitzero"`
	Endpoint    string          `json:"endpoint,omitempty"`
	Reason      string          `json:"reason"`
	Trace       json.RawMessage `json:"trace,omitempty"`
}

// shownTrace is a trace as text shows it; see policy.Trace.
type shownTrace struct {
	Decision string `json:"decision"`
	Reasons  []struct {
		Layer     string `json:"layer"`
		Policy    string `json:"policy"`
		Statement string `json:"statement"`
		Applies   bool   `json:"applies"` // the statement is about the request
		Text      string `json:"text"`
	} `json:"reasons"`
}

// decided is what decided, from the last reason.
func (t *shownTrace) decided() string {
	if len(t.Reasons) == 0 {
		return ""
	}
	last := t.Reasons[len(t.Reasons)-1]
	return withStatement(strings.TrimPrefix(last.Text, t.Decision+" "), last.Statement, last.Policy)
}

// withStatement adds which statement decided, if one did, to the last reason of a trace.
func withStatement(text, statement, policy string) string {
	if statement == "" {
		return text
	}
	if strings.Trim(statement, "0123456789") != "" { // a Sid rather than a number
		statement = strconv.Quote(statement)
	}
	return text + " (statement " + statement + " of " + policy + ")"
}

func (c *cli) why(cmd *cobra.Command, id string) error {
	in, err := c.open(cmd.Context())
	if err != nil {
		return err
	}
	defer in.Close()
	entries, traces, err := audit.Traces(cmd.Context(), in.DB, id)
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return fmt.Errorf("the audit record has no refusal of a request %s: it was allowed, or is not written yet, or is past the retention time, or was one of a flood; see sekisho audit --refused", id)
	}
	out, t := []shownRefusal{}, &table{}
	for i, e := range entries {
		out = append(out, shownRefusal{e.Time, e.Principal, e.AccessKeyID, e.Action, e.Resource, e.Source, e.Endpoint, e.Reason, json.RawMessage(traces[i])})
		if i > 0 {
			t.add("")
		}
		t.add("time", timeCell(e.Time))
		t.add("who", e.Principal)
		t.add("action", e.Action)
		t.add("resource", e.Resource)
		if e.Source.IsValid() {
			t.add("from", e.Source.String())
		}
		if e.Endpoint != "" {
			t.add("through", e.Endpoint)
		}
		if traces[i] == "" {
			t.add("refused", e.Reason)
			continue
		}
		var trace shownTrace
		if err := json.Unmarshal([]byte(traces[i]), &trace); err != nil {
			return fmt.Errorf("read the trace of audit entry %d: %w", e.ID, err)
		}
		// Who must not learn that there is something was told as if there were nothing.
		if explicit := strings.HasPrefix(e.Reason, "with "); trace.Decision == "ExplicitlyDenied" && !explicit {
			t.add("refused", trace.decided())
			t.add("told", e.Reason)
		} else {
			t.add("refused", e.Reason)
		}
		how := "how"
		for _, r := range trace.Reasons {
			text := r.Text
			if r.Layer != "" {
				text = r.Layer + ": " + text
			}
			t.add(how, text)
			how = ""
		}
	}
	return c.print(cmd, out, t)
}
