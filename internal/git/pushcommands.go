package git

import (
	"io"
	"strings"
)

const (
	maxCommandBytes = 16 << 20
	maxCommands     = 50_000
	maxOptions      = 32
	maxOption       = 1024
)

// capabilities are what a push may use, as they are advertised.
const capabilities = "report-status delete-refs side-band-64k quiet atomic ofs-delta push-options object-format=sha1 agent=sekisho"

// pushRequest is what a client wants to be done to refs, before the objects that follow.
type pushRequest struct {
	commands []command
	options  []string
	status   bool // it wants a report
	sideband bool
	quiet    bool
	atomic   bool
}

// command is the update of one ref.
type command struct {
	ref, old, new string
	reason        string // why it was refused, shortly; empty: it was not
}

func (c *command) creates() bool { return c.old == Zero }
func (c *command) deletes() bool { return c.new == Zero }

// needsPack reports whether objects follow.
func (p *pushRequest) needsPack() bool {
	for i := range p.commands {
		if !p.commands[i].deletes() {
			return true
		}
	}
	return false
}

// readCommands reads a push up to the objects (gitprotocol-pack, "Reference Update Request and Packfile Transfer"). A client
// that only wants to know whether it may push sends no commands. Errors: kinds Invalid and TooLarge, errPacket.
func readCommands(r io.Reader) (*pushRequest, error) {
	p := &pushRequest{}
	lines := &packetReader{r: r, left: maxCommandBytes}
	withOptions := false
	seen := map[string]bool{}
	for first := true; ; {
		line, err := lines.next()
		if err != nil {
			return nil, unexpected(err)
		}
		if line.flush {
			break
		}
		text := string(line.data)
		if strings.HasPrefix(text, "shallow ") { // what the client lacks; links are checked here whatever it says
			continue
		}
		if strings.HasPrefix(text, "push-cert") {
			return nil, errorf(Invalid, "signed pushes are not supported; push without --signed")
		}
		if first {
			var caps string
			text, caps, _ = strings.Cut(text, "\x00")
			for word := range strings.FieldsSeq(caps) {
				switch {
				case word == "report-status":
					p.status = true
				case word == "side-band-64k":
					p.sideband = true
				case word == "quiet":
					p.quiet = true
				case word == "atomic":
					p.atomic = true
				case word == "push-options":
					withOptions = true
				case strings.HasPrefix(word, "object-format=") && word != "object-format=sha1":
					return nil, errorf(Invalid, "the repository uses sha1, and the client wants %s", clip(word, 40))
				}
			}
			first = false
		}
		text = strings.TrimSuffix(text, "\n")
		if len(text) < 83 || text[40] != ' ' || text[81] != ' ' || !IsHash(text[:40]) || !IsHash(text[41:81]) {
			return nil, errPacket
		}
		c := command{old: text[:40], new: text[41:81], ref: text[82:]}
		if c.creates() && c.deletes() || seen[c.ref] {
			return nil, errorf(Invalid, "the push names %q twice, or for nothing", clip(c.ref, 80))
		}
		if len(p.commands) == maxCommands {
			return nil, errorf(TooLarge, "a push updates at most %d refs; push fewer at a time", maxCommands)
		}
		seen[c.ref] = true
		p.commands = append(p.commands, c)
	}
	if !withOptions || len(p.commands) == 0 {
		return p, nil
	}
	for {
		line, err := lines.next()
		if err != nil {
			return nil, unexpected(err)
		}
		if line.flush {
			return p, nil
		}
		if len(p.options) == maxOptions || len(line.data) > maxOption {
			return nil, errorf(TooLarge, "a push has at most %d options of at most %d bytes", maxOptions, maxOption)
		}
		p.options = append(p.options, strings.ToValidUTF8(strings.TrimSuffix(string(line.data), "\n"), "\uFFFD"))
	}
}

// unexpected makes the end of the input an error.
func unexpected(err error) error {
	if err == io.EOF {
		return errPacket
	}
	return err
}
