package agent

import (
	"math/rand/v2"
	"time"
)

// jitter returns from half to the whole of a time, so that agents that lost a server at once don't come back at once.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }
