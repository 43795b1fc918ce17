package job

import (
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	for failures, most := range map[int]time.Duration{
		1:    5 * time.Second,
		2:    10 * time.Second,
		3:    20 * time.Second,
		10:   2560 * time.Second,
		11:   time.Hour,
		1000: time.Hour,
	} {
		for range 100 {
			if d := backoff(failures); d <= most/2 || d > most {
				t.Errorf("after %d failures: %v, want in (%v, %v]", failures, d, most/2, most)
			}
		}
	}
}
