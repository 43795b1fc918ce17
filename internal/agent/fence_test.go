package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	agentv1 "github.com/sekisho/sekisho/internal/agent/rpc/sekisho/agent/v1"
	"github.com/sekisho/sekisho/internal/agent/rpc/sekisho/agent/v1/agentv1connect"
	"github.com/sekisho/sekisho/internal/agent/work"
)

// leaseServer gives a lease as the server does, over a network that is slow, loses calls and answers, and is cut off at times.
type leaseServer struct {
	agentv1connect.AgentServiceClient
	r    *rand.Rand
	loss int // one in so many is lost

	mu    sync.Mutex
	until time.Time // guarded by mu; of the lease
	lost  bool      // guarded by mu
	down  bool      // guarded by mu
	calls int       // guarded by mu; answered
}

func (s *leaseServer) chance(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.IntN(n) == 0
}

func (s *leaseServer) pause(most time.Duration) {
	s.mu.Lock()
	d := time.Duration(s.r.Int64N(int64(most)))
	s.mu.Unlock()
	time.Sleep(d)
}

// travel takes a while; it fails where the network is cut, now or after that while.
func (s *leaseServer) travel(ctx context.Context) error {
	s.mu.Lock()
	d := time.Duration(s.r.ExpFloat64() * float64(300*time.Millisecond))
	s.mu.Unlock()
	time.Sleep(d)
	s.mu.Lock()
	down := s.down
	s.mu.Unlock()
	if down || s.chance(s.loss) { // nothing comes back: it is waited for until the caller has enough
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (s *leaseServer) Renew(ctx context.Context, _ *connect.Request[agentv1.RenewRequest]) (*connect.Response[agentv1.RenewResponse], error) {
	if err := s.travel(ctx); err != nil {
		return nil, connect.NewError(connect.CodeUnavailable, err)
	}
	s.mu.Lock()
	if s.lost || time.Now().After(s.until) {
		s.mu.Unlock()
		return nil, connect.NewError(connect.CodeAborted, work.ErrClaimLost)
	}
	s.until = time.Now().Add(work.Lease)
	s.mu.Unlock()
	err := s.travel(ctx)
	if err == nil && s.chance(5*s.loss) {
		s.pause(time.Minute) // whoever called was not run for a while
	}
	if err != nil {
		return nil, connect.NewError(connect.CodeUnavailable, err)
	}
	s.mu.Lock()
	s.calls++
	s.mu.Unlock()
	return connect.NewResponse(&agentv1.RenewResponse{}), nil
}

// TestFence runs jobs under leases in a time of its own, with random networks, and checks that no job runs when the server may give
// it to another agent.
func TestFence(t *testing.T) {
	t.Parallel()
	rounds, ended, kept := 400, 0, 0
	if raceDetector {
		rounds = 60
	}
	for seed := range uint64(rounds) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			begin := time.Now()
			clock := func() time.Duration { return time.Since(begin) }
			server := &leaseServer{r: rand.New(rand.NewPCG(seed, 2)), loss: 3 + r.IntN(50)}
			a := &Agent{client: &client{AgentServiceClient: server}, log: discardLog(), clock: clock, renewEvery: renewEvery}
			x := a.newAttempt(&work.Job{ID: "a", Attempt: 1}, "")
			taken := clock()
			time.Sleep(time.Duration(r.Int64N(int64(5 * time.Second)))) // the call by which it was taken
			server.until = time.Now().Add(work.Lease)
			time.Sleep(time.Duration(r.Int64N(int64(5 * time.Second))))
			x.fence.renewed(taken)

			// The worker, beyond a pipe.
			in, out := io.Pipe()
			hush := make(chan struct{})
			go x.speak(out, nil, hush)
			hangs := r.IntN(4) == 0
			killed := make(chan struct{})
			over := make(chan struct{})
			var why error
			go func() {
				defer close(over)
				lines := bufio.NewReader(in)
				_, _ = lines.ReadBytes('\n')
				g := &guard{fence: newFence(clock, x.fence.since()), lease: x.lease}
				lost := make(chan struct{}) // this job asks nothing
				why = g.run(t.Context(), lines, lost, func(_ context.Context, drop <-chan struct{}) {
					if !hangs {
						select {
						case <-drop:
							server.pause(4 * time.Second) // until all is killed
							return
						case <-killed:
						}
					}
					<-killed
				})
				_ = in.Close()
			}()

			ctx, end := context.WithCancelCause(t.Context())
			var all sync.WaitGroup
			all.Go(func() { x.renew(ctx, end) })
			all.Go(func() { // as attempt.run does
				if x.fence.over(ctx, killAfterFence(x.lease)) || hangs && errors.Is(context.Cause(ctx), work.ErrClaimLost) {
					close(killed)
				}
				if errors.Is(context.Cause(ctx), work.ErrClaimLost) {
					close(hush)
				}
			})
			// The network comes and goes.
			finish := time.After(5 * time.Minute)
			for running := true; running; {
				server.mu.Lock()
				server.down = !server.down && r.IntN(3) > 0
				usual := time.Minute
				if server.down {
					usual = 10 * time.Second
				}
				server.mu.Unlock()
				wait := time.After(time.Duration(r.ExpFloat64() * float64(usual)))
				for again := true; again && running; {
					server.mu.Lock()
					left := time.Until(server.until)
					server.mu.Unlock()
					select {
					case <-over:
						running = false
					case <-wait:
						again = false
					case <-finish:
						running = false
					case <-time.After(max(left, 0) + 1):
						server.mu.Lock()
						if time.Now().After(server.until) {
							server.lost = true
							t.Errorf("seed %d: the lease is over at %v and the job runs", seed, clock())
							running = false
						}
						server.mu.Unlock()
					}
				}
			}
			select {
			case <-over:
				ended++
				if !hangs && !errors.Is(why, errCutOff) && !errors.Is(why, errAgentGone) {
					t.Errorf("seed %d: it ended for %v", seed, why)
				}
			default:
				kept++
				if server.mu.Lock(); server.calls == 0 {
					t.Errorf("seed %d: it goes on without a renewal", seed)
				}
				server.mu.Unlock()
			}
			end(errAgentGone)
			select {
			case <-killed:
			default:
				if hangs {
					close(killed)
				}
			}
			all.Wait()
			select {
			case <-hush:
			default:
				close(hush)
			}
			<-over
		})
	}
	t.Logf("%d jobs were ended, %d went on", ended, kept)
	if ended == 0 || kept == 0 {
		t.Errorf("%d jobs were ended, %d went on: both must be tried", ended, kept)
	}
}

// TestWords has a worker take its lines in their order, whatever becomes of the ones before.
func TestWords(t *testing.T) {
	t.Parallel()
	x := (&Agent{log: discardLog(), clock: steady}).newAttempt(&work.Job{ID: "a"}, "")
	x.cancel("before it began") // when its order is not even written
	x.cancel("again")
	in, out := io.Pipe()
	hush := make(chan struct{})
	go x.speak(out, []byte(`{"order":1}`), hush)
	lines := bufio.NewReader(in)
	first, err := lines.ReadString('\n')
	if err != nil || first != "{\"order\":1}\n" {
		t.Errorf("first comes %q, %v", first, err)
	}
	second, err := lines.ReadBytes('\n')
	var w word
	if err != nil || json.Unmarshal(second, &w) != nil || w.Cancel != "before it began" {
		t.Errorf("then comes %q, %v", second, err)
	}
	close(hush)
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("at last comes %q, %v", rest, err)
	}
}
