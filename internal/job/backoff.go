package job

import (
	"math/rand/v2"
	"time"
)

const (
	backoffFirst = 5 * time.Second
	backoffMost  = time.Hour
)

// backoff is the default of KindOptions.Backoff.
func backoff(failures int) time.Duration {
	d := backoffMost
	if shift := failures - 1; shift < 10 { // 5 s << 10 is more than an hour
		d = min(backoffFirst<<max(shift, 0), backoffMost)
	}
	return d - rand.N(d/2)
}
