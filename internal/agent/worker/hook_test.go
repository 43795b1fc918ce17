package worker

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/sekisho/sekisho/internal/agent/work"
)

// TestHooks runs deployment jobs; each step is "hook script condition", and the results are those of the steps.
func TestHooks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		steps []string
		want  string
		job   work.Result
	}{
		{"all is well", []string{"preDeploy true", "deploy true", "postRouteTraffic true", "onSuccess true", "onFailure true"}, "++++-", work.Succeeded},
		{"preDeploy fails", []string{"preDeploy false", "preDeploy true", "preDeploy true always()", "deploy true", "deploy true always()", "deploy true failed()", "routeTraffic true always()",
			"onSuccess true always()", "onFailure true", "onFailure true failed()", "onFailure true succeededOrFailed()"}, "x-+-----+-+", work.Failed},
		{"deploy fails", []string{"preDeploy true", "deploy false", "deploy true", "deploy true failed()", "postRouteTraffic true always()", "onSuccess true", "onFailure true"}, "+x-+--+", work.Failed},
		{"onFailure fails too", []string{"deploy false", "onFailure false", "onFailure true", "onFailure true failed()"}, "xx-+", work.Failed},
		{"onSuccess fails", []string{"deploy true", "onSuccess false", "onSuccess true always()", "onFailure true always()"}, "+x+-", work.Failed},
		{"nothing before", []string{"onFailure true always()"}, "-", work.Succeeded},
		{"other letters", []string{"PREDEPLOY false", "Deploy true always()", "ONFAILURE true"}, "x-+", work.Failed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var steps []work.Step
			for _, text := range c.steps {
				f := strings.SplitN(text, " ", 3)
				s := bash(f[1])
				if s.Hook = f[0]; len(f) == 3 {
					s.Condition = f[2]
				}
				steps = append(steps, s)
			}
			b := newBench(t, steps...)
			b.must(c.job)
			got := ""
			for i := range steps {
				got += map[work.Result]string{work.Succeeded: "+", work.Failed: "x", work.Skipped: "-"}[b.record(fmt.Sprintf("s%d", i+1)).Result]
			}
			if got != c.want {
				t.Errorf("the steps are %s, want %s", got, c.want)
			}
		})
	}
}

// TestCanceledHook cancels a deployment job: what runs always does so in its hook, and no other hook begins.
func TestCanceledHook(t *testing.T) {
	t.Parallel()
	waits, clean, next, failure := bash("echo waiting; sleep 300"), bash("true"), bash("true"), bash("true")
	waits.Hook, clean.Hook, next.Hook, failure.Hook = "preDeploy", "preDeploy", "deploy", "onFailure"
	clean.Condition, next.Condition, failure.Condition = "always()", "always()", "always()"
	b := newBench(t, waits, clean, next, failure)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	b.wait["waiting"] = func() { cancel(ErrCancel) }
	if result, err := b.start(ctx); err != nil || result != work.Canceled {
		t.Errorf("it is %s, %v", result, err)
	}
	for id, want := range map[string]work.Result{"s1": work.Canceled, "s2": work.Succeeded, "s3": work.Skipped, "s4": work.Skipped} {
		if r := b.record(id); r.Result != want {
			t.Errorf("%s is %s, want %s", id, r.Result, want)
		}
	}
}
