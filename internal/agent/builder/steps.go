package builder

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// stepLine is how docker's classic builder, podman and buildah announce a step.
var stepLine = regexp.MustCompile(`^(?:\[\d+/\d+\] )?(?:STEP|Step) (\d+)/(\d+) ?: ?(.*)$`)

// maxLine bounds what is kept of a line, in bytes.
const maxLine = 64 << 10

// steps writes a build's output to a log, with a group for each step. Both streams of a program may write to it.
type steps struct {
	mu   sync.Mutex
	log  Log
	rest []byte
	end  func()
	step string
}

func (s *steps) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rest = append(s.rest, p...)
	for {
		i := bytes.IndexByte(s.rest, '\n')
		if i < 0 {
			if len(s.rest) < maxLine {
				return len(p), nil
			}
			i = maxLine - 1
			s.line(string(s.rest[:i+1]))
		} else {
			s.line(strings.TrimRight(string(s.rest[:i]), "\r"))
		}
		s.rest = append(s.rest[:0], s.rest[i+1:]...)
	}
}

func (s *steps) line(text string) {
	m := stepLine.FindStringSubmatch(text)
	if m == nil {
		s.log.Line(text)
		return
	}
	s.close()
	n, _ := strconv.Atoi(m[1])
	of, _ := strconv.Atoi(m[2])
	s.step = "step " + m[1] + "/" + m[2] + ": " + m[3]
	s.end = s.log.Group(text)
	if of > 0 {
		s.log.Progress(min(100*(n-1)/of, 99), s.step)
	}
}

// close ends the output.
func (s *steps) close() {
	if s.end != nil {
		s.end()
		s.end = nil
	}
}

// finish ends the output and returns the step that the build ended in.
func (s *steps) finish() string {
	if len(s.rest) > 0 {
		s.line(string(s.rest))
		s.rest = nil
	}
	s.close()
	return s.step
}
