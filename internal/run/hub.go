package run

import "sync"

// hub wakes those in this process who wait for something. What there is to see is in the database.
type hub struct {
	mu      sync.Mutex
	waiting map[string]map[*waiter]struct{} // by topic; guarded by mu
}

// waiter is woken through its channel, which holds one.
type waiter struct{ wake chan struct{} }

func newHub() *hub { return &hub{waiting: map[string]map[*waiter]struct{}{}} }

// listen returns what is woken by any of the topics until stop is called.
func (h *hub) listen(topics ...string) (wake <-chan struct{}, stop func()) {
	w := &waiter{make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, topic := range topics {
		if h.waiting[topic] == nil {
			h.waiting[topic] = map[*waiter]struct{}{}
		}
		h.waiting[topic][w] = struct{}{}
	}
	return w.wake, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, topic := range topics {
			delete(h.waiting[topic], w)
			if len(h.waiting[topic]) == 0 {
				delete(h.waiting, topic)
			}
		}
	}
}

func (h *hub) wake(topic string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.waiting[topic] {
		select {
		case w.wake <- struct{}{}:
		default: // it will look anyway
		}
	}
}

// topics returns those that somebody waits for.
func (h *hub) topics() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]string, 0, len(h.waiting))
	for topic := range h.waiting {
		list = append(list, topic)
	}
	return list
}
