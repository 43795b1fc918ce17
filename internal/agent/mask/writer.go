package mask

import "io"

// Writer masks what is written to it. It holds back as little as it must: what may be the beginning of a
// secret. It is for one goroutine.
type Writer struct {
	m   *Masker
	out io.Writer

	buf    []byte // not passed on yet
	base   int64  // where buf begins in the text
	marks  []span // to be masked, in buf, in order, apart from each other
	masked int64  // where the last mask that was passed on ended; what follows without a gap is part of it

	layers []*automaton
	states []int32
	url    urlState
	line   []byte // to write, kept for the next time
}

// span is a part of the text.
type span struct{ from, to int64 }

// Writer returns a Writer over another one.
func (m *Masker) Writer(out io.Writer) *Writer {
	return &Writer{m: m, out: out, masked: -1}
}

// Write masks p and passes on what can't be a part of a secret any more.
func (w *Writer) Write(p []byte) (int, error) {
	if layers := w.m.current(); !same(layers, w.layers) {
		// What was held back is looked at again: it may be what was just added.
		w.layers, w.states = layers, make([]int32, len(layers))
		for i, b := range w.buf {
			w.find(b, w.base+int64(i)+1)
		}
	}
	end := w.base + int64(len(w.buf))
	w.buf = append(w.buf, p...)
	for i, b := range p {
		at := end + int64(i) + 1
		w.find(b, at)
		if s, ok := w.url.step(b, at); ok {
			w.mark(s)
		}
	}
	safe := w.base + int64(len(w.buf))
	for i, l := range w.layers {
		if n := l.nodes[w.states[i]].depth; n > 0 {
			safe = min(safe, w.base+int64(len(w.buf))-int64(n))
		}
	}
	if from, ok := w.url.held(); ok {
		safe = min(safe, from)
	}
	return len(p), w.pass(max(safe, w.base))
}

// Flush passes on what was held back: the text ends here.
func (w *Writer) Flush() error {
	if s, ok := w.url.end(); ok {
		w.mark(s)
	}
	err := w.pass(w.base + int64(len(w.buf)))
	w.reset()
	return err
}

// Discard drops what was held back: the text is cut off here, and a beginning of a secret must not be seen either.
func (w *Writer) Discard() {
	w.buf, w.marks = w.buf[:0], w.marks[:0]
	w.reset()
}

func (w *Writer) reset() {
	clear(w.states)
	w.url, w.masked = urlState{}, -1
}

// find takes a step in each layer; at is where the text ends with b.
func (w *Writer) find(b byte, at int64) {
	for i, l := range w.layers {
		n := l.step(w.states[i], b)
		w.states[i] = n
		if m := l.nodes[n].match; m > 0 {
			w.mark(span{at - int64(m), at})
		}
	}
}

// mark joins a span with those it touches.
func (w *Writer) mark(s span) {
	s.from = max(s.from, w.base)
	if s.from >= s.to {
		return
	}
	i := len(w.marks)
	for i > 0 && w.marks[i-1].to >= s.from {
		i--
	}
	j := i
	for j < len(w.marks) && w.marks[j].from <= s.to {
		s.from, s.to = min(s.from, w.marks[j].from), max(s.to, w.marks[j].to)
		j++
	}
	if i == j {
		w.marks = append(w.marks, span{})
		copy(w.marks[i+1:], w.marks[i:])
		w.marks[i] = s
		return
	}
	w.marks[i] = s
	w.marks = append(w.marks[:i+1], w.marks[j:]...)
}

// pass writes the text up to a place.
func (w *Writer) pass(to int64) error {
	if to == w.base {
		return nil
	}
	line, at := w.line[:0], w.base
	done := 0
	for i := range w.marks {
		s := &w.marks[i]
		if s.from >= to {
			break
		}
		line = append(line, w.buf[at-w.base:s.from-w.base]...)
		if s.from != w.masked {
			line = append(line, Mask...)
		}
		at = min(s.to, to)
		w.masked = at
		if s.to > to {
			s.from = to
			break
		}
		done++
	}
	w.marks = append(w.marks[:0], w.marks[done:]...)
	line = append(line, w.buf[at-w.base:to-w.base]...)
	w.buf = append(w.buf[:0], w.buf[to-w.base:]...)
	w.base, w.line = to, line
	if cap(w.line) > 1<<20 {
		w.line = nil
	}
	if len(line) == 0 {
		return nil
	}
	_, err := w.out.Write(line)
	return err
}

func same(a, b []*automaton) bool {
	return len(a) == len(b) && (len(a) == 0 || a[len(a)-1] == b[len(b)-1])
}
