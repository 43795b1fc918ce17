package pipeline

import (
	"context"
	"strings"
	"testing"
)

type oneFile string

func (f oneFile) File(context.Context, Repository, string) ([]byte, error) { return []byte(f), nil }

func TestManySchedules(t *testing.T) {
	for n, refused := range map[int]bool{maxSchedules: false, maxSchedules + 1: true, maxSchedules + 2: true} {
		text := "schedules:\n" + strings.Repeat("- cron: '0 0 * * *'\n  branches:\n    include: [main]\n", n) + "steps:\n- script: x\n"
		p, err := Compile(t.Context(), oneFile(text), "a.yml", Options{})
		if err != nil {
			t.Fatal(err)
		}
		u := p.Unsupported()
		if got := len(u) == 1 && strings.Contains(u[0].Message, "at most 20 schedules"); got != refused || !refused && len(u) > 0 {
			t.Errorf("%d schedules: %v", n, u)
		}
	}
}
