package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sekisho/sekisho/internal/iam/lint"
)

// maxPolicyFile bounds what policy check reads of a file, in bytes.
const maxPolicyFile = 1 << 20

func newPolicyCheck(c *cli) *cobra.Command {
	var kind string
	names := make([]string, len(lint.Kinds))
	for i, k := range lint.Kinds {
		names[i] = string(k)
	}
	cmd := &cobra.Command{
		Use:   "check FILE…",
		Short: "Find what is wrong with policies before they are attached",
		Long: `Find what is wrong with policies before they are attached: what the server would
refuse; actions, resources, condition keys and values that there are not; statements
that can never match; a Deny that lets through whom it means, or locks everybody out,
its author too; an Allow that lets too many in. Nothing is asked of an instance.

FILE is a policy, - is standard input. What it is to be attached to decides about its
grammar and about some of the rules: ` + strings.Join(names, ", ") + `.
Without --kind that is guessed.

A finding is an error (the server refuses it, or it is certainly not what was meant), a
warning (it most likely is not, or it is dangerous) or a note. The exit code is 0 if
there are none but notes, and 1 if there are others.`,
		Example: `  sekisho policy check repository-policy.json
  aws iam get-role --role-name ci --query Role.AssumeRolePolicyDocument | sekisho policy check --kind trust -`,
		Args: usageOf(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if kind != "" && !slices.Contains(names, kind) {
				return usage("--kind: %q is none of %s", kind, strings.Join(names, ", "))
			}
			if first := slices.Index(args, "-"); first >= 0 && slices.Contains(args[first+1:], "-") {
				return usage("standard input can be read once")
			}
			return c.checkPolicies(cmd, args, lint.Kind(kind))
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "", "what the policies are attached to: "+strings.Join(names, ", ")+"; guessed if not given")
	return cmd
}

// checkedPolicy is the result for a file.
type checkedPolicy struct {
	File string `json:"file"`
	lint.Report
}

func (c *cli) checkPolicies(cmd *cobra.Command, files []string, kind lint.Kind) error {
	results := []checkedPolicy{}
	t := &table{}
	count := map[lint.Severity]int{}
	for _, file := range files {
		doc, err := readPolicy(cmd, file)
		if err != nil {
			return err
		}
		if file == "-" {
			file = "standard input"
		}
		r := checkedPolicy{file, lint.Check(doc, kind)}
		results = append(results, r)
		as := "as " + article(string(r.Kind)) + string(r.Kind) + " policy"
		if kind == "" {
			as += ", by the look of it; --kind says otherwise"
		}
		if len(r.Findings) == 0 {
			t.add(file, "ok", "checked "+as)
			continue
		}
		t.add(file, "", "checked "+as)
		for _, f := range r.Findings {
			count[f.Severity]++
			where := ""
			if f.Statement != "" {
				where = "statement " + f.Statement + ": "
			}
			t.add(fmt.Sprintf("%s:%d:%d", file, f.Line, f.Column), string(f.Severity)+" "+f.Code, where+f.Message)
			if f.Fix != "" {
				t.add("", "", "→ "+f.Fix)
			}
		}
	}
	if err := c.print(cmd, results, t); err != nil {
		return err
	}
	if e, w := count[lint.Error], count[lint.Warning]; e+w > 0 {
		return &exitError{exitFailed, errors.New(counted(e, "error") + ", " + counted(w, "warning"))}
	}
	return nil
}

func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

func article(noun string) string {
	if noun != "" && strings.IndexByte("aeiou", noun[0]) >= 0 {
		return "an "
	}
	return "a "
}

func readPolicy(cmd *cobra.Command, file string) ([]byte, error) {
	in, name := cmd.InOrStdin(), "standard input"
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in, name = f, file
	}
	doc, err := io.ReadAll(io.LimitReader(in, maxPolicyFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(doc) > maxPolicyFile {
		return nil, fmt.Errorf("%s has more than %d KiB", name, maxPolicyFile>>10)
	}
	return doc, nil
}
