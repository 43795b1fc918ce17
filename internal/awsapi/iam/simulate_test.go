package iam_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// TestSimulateLarge: whoever may ask what policies would allow does not get to keep the server busy, or fill its memory, with it.
func TestSimulateLarge(t *testing.T) {
	s := newServer(t)
	const one = `{"Effect":"Allow","Action":"*","Resource":"*"}`
	large := `{"Statement":[` + strings.Repeat(one+",", 2600) + one + `]}` // AWS takes 131,072 characters
	in := &sdk.SimulateCustomPolicyInput{PolicyInputList: []string{large}, MaxItems: aws.Int32(1000)}
	for i := range 200 {
		in.ActionNames = append(in.ActionNames, fmt.Sprint("ecr:Action", i))
	}
	results := 0
	for pages := 1; ; pages++ {
		out, err := s.client.SimulateCustomPolicy(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range out.EvaluationResults {
			if want := fmt.Sprint("ecr:Action", results); *r.EvalActionName != want || r.EvalDecision != types.PolicyEvaluationDecisionTypeAllowed {
				t.Fatalf("%s: %s, want %s", *r.EvalActionName, r.EvalDecision, want)
			}
			last := r.MatchedStatements[len(r.MatchedStatements)-1]
			if len(r.MatchedStatements) != 2601 || last.StartPosition.Column != int32(len(large)-len("]}")-len(one)+1) || last.EndPosition.Column != int32(len(large)-len("]}")+1) {
				t.Fatalf("%d statements, the last from %d to %d", len(r.MatchedStatements), last.StartPosition.Column, last.EndPosition.Column)
			}
			results++
		}
		if !out.IsTruncated || pages == 2 { // how the rest goes is known
			break
		}
		in.Marker = out.Marker
	}
	if results < 14 {
		t.Errorf("%d results on two pages", results)
	}

	refused := func(what string, in *sdk.SimulateCustomPolicyInput) {
		t.Helper()
		in.ActionNames = []string{"ecr:PutImage"}
		if _, err := s.client.SimulateCustomPolicy(t.Context(), in); err == nil || !strings.Contains(err.Error(), "InvalidInput") {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("three of them", &sdk.SimulateCustomPolicyInput{PolicyInputList: []string{large, large, large}})
	refused("a value without end", &sdk.SimulateCustomPolicyInput{PolicyInputList: []string{`{"Statement":` + one + `}`}, ContextEntries: []types.ContextEntry{
		{ContextKeyName: aws.String("aws:UserAgent"), ContextKeyType: types.ContextKeyTypeEnumString, ContextKeyValues: []string{strings.Repeat("a", 100_000)}},
	}})
}
