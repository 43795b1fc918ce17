package git

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/sekisho/sekisho/internal/durable"
	"github.com/sekisho/sekisho/internal/iam"
)

// keepAlive is how often a client that waits for the report hears something.
const keepAlive = 5 * time.Second

// maxIgnored is how much of a push is read that is not wanted, so that the client gets to read why.
const maxIgnored = 1 << 30

// maxObjects bounds what a pack says it has: room is made for them all before they come.
const maxObjects = 20_000_000

// AdvertisePush writes the refs of a repository for a client that is going to push. Errors: *iam.DeniedError, kinds NotFound,
// Invalid and Unavailable.
func (s *Service) AdvertisePush(ctx context.Context, c *iam.Caller, n Name, w io.Writer) error {
	r, err := s.allowed(ctx, c, "Pull", n) // it tells the refs; whether they may be pushed to depends on which
	if err != nil {
		return err
	}
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	out, err := s.output(ctx, maxRefBytes, &program{dir: s.folder(r.ID), args: []string{"for-each-ref", "--format=%(objectname) %(refname)"}})
	if err != nil {
		return err
	}
	b := bufio.NewWriter(w)
	if err := writePacket(b, "# service=git-receive-pack\n"); err != nil {
		return err
	}
	_, _ = b.WriteString(flushPacket)
	first := true
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line[min(len(line), 41):], "refs/sekisho/") {
			continue
		}
		if first {
			line += "\x00" + capabilities
			first = false
		}
		if err := writePacket(b, line+"\n"); err != nil {
			return err
		}
	}
	if first {
		if err := writePacket(b, Zero+" capabilities^{}\x00"+capabilities+"\n"); err != nil {
			return err
		}
	}
	_, _ = b.WriteString(flushPacket)
	return b.Flush()
}

// Receive takes a push: the body of a client's request, to which it writes the answer once the request was read to its end.
// That a ref was refused is in the answer, and no error. Errors, with nothing written: *iam.DeniedError, kinds NotFound,
// Invalid, TooLarge and Unavailable.
func (s *Service) Receive(ctx context.Context, c *iam.Caller, n Name, body io.Reader, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, s.o.Limits.Time)
	defer cancel()
	r, err := s.allowed(ctx, c, "Pull", n)
	if err != nil {
		return err
	}
	if err := s.Available(); err != nil {
		return err
	}
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	in := &input{r: body}
	req, err := readCommands(in)
	if err != nil {
		if errors.Is(err, errPacket) {
			err = errorf(Invalid, "%s", err)
		}
		return err
	}
	if len(req.commands) == 0 { // it only asks whether it may
		return nil
	}
	p := &pushing{s: s, c: c, r: r, in: in, req: req, answer: &answer{w: w, sideband: req.sideband}}
	p.rules, err = s.rules(ctx, s.db, r.ID)
	if err != nil {
		return err
	}
	return p.run(ctx)
}

// pushing is a push in its course.
type pushing struct {
	s      *Service
	c      *iam.Caller
	r      *Repository
	in     *input
	req    *pushRequest
	rules  []Rule
	answer *answer
	told   int
}

// maxTold is how many refusals are explained at length.
const maxTold = 20

func (p *pushing) tell(text string) {
	if p.told++; p.told <= maxTold {
		p.answer.message(text)
	}
	if p.told == maxTold+1 {
		p.answer.message("and more of the kind")
	}
}

func (p *pushing) run(ctx context.Context) error {
	judge := &refJudge{s: p.s, c: p.c, r: p.r, rules: p.rules, tell: p.tell}
	if err := p.judgeFirst(ctx, judge); err != nil {
		return err
	}
	unpacked := "ok"
	var q *isolated
	if p.req.needsPack() {
		var err error
		if p.wanted() > 0 {
			if q, err = p.s.isolate(p.r); err != nil {
				return err
			}
			defer q.discard()
			err = p.unpack(ctx, q)
		}
		if ierr := p.in.ignore(maxIgnored); ierr != nil {
			return ierr // it can't be answered to
		}
		if err != nil {
			if unpacked, err = p.explain(err); err != nil {
				return err
			}
			refuseRest(p.req.commands, "unpacker error")
		}
	} else if err := p.in.ignore(0); err != nil {
		return err
	}
	stop := p.answer.begin(keepAlive)
	defer stop()
	if p.wanted() > 0 {
		if err := p.finish(ctx, judge, q); err != nil {
			return errors.Join(err, p.fatal(err))
		}
	}
	stop()
	return p.answer.report(unpacked, p.req)
}

// wanted returns how many commands were not refused yet.
func (p *pushing) wanted() (n int) {
	for i := range p.req.commands {
		if p.req.commands[i].reason == "" {
			n++
		}
	}
	return n
}

func (p *pushing) refusedAny() bool { return p.wanted() < len(p.req.commands) }

// judgeFirst refuses what can be without the objects.
func (p *pushing) judgeFirst(ctx context.Context, judge *refJudge) (err error) {
	if p.r.Mirror {
		p.answer.message(fmt.Sprintf("%s/%s mirrors another repository; push to that one", p.r.Project, p.r.Name))
		refuseRest(p.req.commands, "a mirror can't be pushed to")
		return nil
	}
	for i := range p.req.commands {
		c := &p.req.commands[i]
		if c.reason, err = judge.first(ctx, c); err != nil {
			return err
		}
	}
	p.allOrNothing()
	return nil
}

func (p *pushing) allOrNothing() {
	if p.req.atomic && p.refusedAny() {
		refuseRest(p.req.commands, "atomic push: another ref was refused")
	}
}

// unpack puts the objects of a push into a quarantine.
func (p *pushing) unpack(ctx context.Context, q *isolated) error {
	size, err := p.s.diskSize(p.r.ID)
	if err != nil {
		return err
	}
	limit := p.s.maxPush(p.r)
	what := "a push may be, which is " + bytesText(limit)
	if left := p.s.maxSize(p.r) - size; left < limit {
		limit = left
		what = "what is left of the " + bytesText(p.s.maxSize(p.r)) + " that the repository may have"
		if limit <= 0 {
			return errorf(TooLarge, "the repository has %s, and may have %s; delete what is not needed, or ask for more", bytesText(size), bytesText(p.s.maxSize(p.r)))
		}
	}
	over := errorf(TooLarge, "the push is larger than %s", what)
	var head [12]byte
	if _, err := io.ReadFull(p.in, head[:]); err != nil {
		return errorf(Invalid, "the objects of the push are missing or cut short")
	}
	if string(head[:4]) != "PACK" {
		return errorf(Invalid, "what follows the commands is no pack of objects")
	}
	switch n := binary.BigEndian.Uint32(head[8:]); {
	case n == 0: // everything is there already
		return nil
	case n > maxObjects:
		return errorf(TooLarge, "the push has %d objects, and at most %d are taken at once", n, maxObjects)
	}
	var progress io.Writer
	if !p.req.quiet && p.req.sideband {
		progress = &progressWriter{p.s, p.answer}
	}
	return q.unpack(ctx, io.MultiReader(bytes.NewReader(head[:]), &capped{p.in, limit - int64(len(head)), over}), progress)
}

// explain turns an error of unpack into what the report says; what is no doing of the client's stays an error.
func (p *pushing) explain(err error) (string, error) {
	if e, ok := errors.AsType[*Error](err); ok {
		p.answer.message(e.Message)
		return oneLine(e.Message), nil
	}
	if durable.IsFull(err) {
		p.answer.message("the server's disk is full")
		return "the server's disk is full", err
	}
	if e, ok := errors.AsType[*exitError](err); ok && exitCode(err) > 0 {
		p.answer.message(e.stderr)
		last := e.stderr
		for line := range strings.Lines(e.stderr) {
			if strings.HasPrefix(line, "fatal: ") || strings.HasPrefix(line, "error: ") {
				last = line
			}
		}
		return "the objects were refused: " + oneLine(last), nil
	}
	if e, ok := errors.AsType[*exitError](err); ok && p.s.o.Limits.Memory > 0 { // ended by a signal
		p.s.o.Logger.Warn("a program that unpacked a push was killed", "repo", p.r.ARN, "err", e)
		return "the objects need more memory than a push may use", nil
	}
	return "", err
}

// finish judges by the objects and updates the refs.
func (p *pushing) finish(ctx context.Context, judge *refJudge, q *isolated) error {
	release, err := p.s.lock(ctx, p.r.ID, gcLock, true)
	if err != nil {
		return err
	}
	defer release()
	if q != nil {
		if err := p.judgeObjects(ctx, judge, q); err != nil {
			return err
		}
	}
	p.allOrNothing()
	if p.wanted() == 0 {
		return nil
	}
	push := Push{Source: FromPush, Principal: p.c.Who(), RequestID: p.c.RequestID, Options: p.req.options}
	return p.s.apply(ctx, q, p.r, p.req.commands, p.req.atomic, push)
}

// judgeObjects refuses what the objects of a push don't allow.
func (p *pushing) judgeObjects(ctx context.Context, judge *refJudge, q *isolated) error {
	return p.s.judgeObjects(ctx, judge, q, p.req.commands)
}

func (s *Service) judgeObjects(ctx context.Context, judge *refJudge, q *isolated, commands []command) error {
	var tips []*command
	var hashes []string
	for i := range commands {
		if c := &commands[i]; c.reason == "" && !c.deletes() {
			tips, hashes = append(tips, c), append(hashes, c.new)
		}
	}
	if len(tips) == 0 {
		return nil
	}
	kinds, err := q.look(ctx, hashes)
	if err != nil {
		return err
	}
	for i, c := range tips {
		switch {
		case kinds[i].kind == "":
			c.reason = "missing necessary objects"
		case kinds[i].kind != "commit" && !strings.HasPrefix(c.ref, tags):
			c.reason = "it is a " + kinds[i].kind + ", not a commit"
		}
	}
	if err := linked(ctx, q, tips); err != nil {
		return err
	}
	if err := s.judgeSizes(ctx, judge, q, tips); err != nil {
		return err
	}
	for _, c := range tips {
		if c.reason != "" || c.creates() || !strings.HasPrefix(c.ref, "refs/") || strings.HasPrefix(c.ref, tags) {
			continue
		}
		forward, err := q.isAncestor(ctx, c.old, c.new)
		if err != nil {
			if exitCode(err) < 0 {
				return err
			}
			c.reason = "fetch first: the old value is not in the repository"
			continue
		}
		if forward {
			continue
		}
		if c.reason, err = judge.force(ctx, c, "a push that is not a fast-forward", func(r *Rule) bool { return r.NoForce }); err != nil {
			return err
		}
		if c.reason != "" {
			c.reason = "non-fast-forward: " + c.reason
		}
	}
	return nil
}

// linked refuses refs that something is missing of. What all have is found at once.
func linked(ctx context.Context, q *isolated, tips []*command) error {
	var hashes []string
	for _, c := range tips {
		if c.reason == "" {
			hashes = append(hashes, c.new)
		}
	}
	if len(hashes) == 0 {
		return nil
	}
	ok, err := q.connected(ctx, hashes)
	if ok || err != nil {
		return err
	}
	const oneByOne = 100
	for i, c := range tips {
		if c.reason != "" {
			continue
		}
		if ok = false; i < oneByOne && len(hashes) > 1 {
			if ok, err = q.connected(ctx, []string{c.new}); err != nil {
				return err
			}
		}
		if !ok {
			c.reason = "missing necessary objects"
		}
	}
	return nil
}

// judgeSizes refuses refs that bring files over their limit.
func (s *Service) judgeSizes(ctx context.Context, judge *refJudge, q *isolated, tips []*command) error {
	lowest := int64(1<<63 - 1)
	for _, c := range tips {
		most, _ := judge.maxFile(c.ref)
		lowest = min(lowest, most)
	}
	large, err := q.large(ctx, lowest)
	if err != nil || len(large) == 0 {
		return err
	}
	for hash, k := range large {
		if k.kind != "blob" {
			judge.tell(fmt.Sprintf("the %s %s has %s, and the largest that is taken has %s", k.kind, hash, bytesText(k.size), bytesText(maxOther)))
			for _, c := range tips {
				c.reason = "a " + k.kind + " is too large"
			}
			return nil
		}
	}
	for _, c := range tips {
		if c.reason != "" {
			continue
		}
		most, rule := judge.maxFile(c.ref)
		wanted := map[string]known{}
		for hash, k := range large {
			if k.size > most {
				wanted[hash] = k
			}
		}
		if len(wanted) == 0 {
			continue
		}
		hash, path, err := q.path(ctx, c.new, wanted)
		if err != nil {
			return err
		}
		if hash == "" {
			continue
		}
		what := fmt.Sprintf("%q has %s, and a file may have %s", clip(path, 200), bytesText(large[hash].size), bytesText(most))
		if rule == nil {
			judge.tell(c.ref + ": " + what)
			c.reason = "a file is too large"
			continue
		}
		if c.reason, err = judge.broken(ctx, rule, c.ref, "large files: "+what); err != nil {
			return err
		}
		if c.reason != "" {
			c.reason = fmt.Sprintf("rule for %q: a file is too large", rule.Pattern)
		}
		if repo := s.maxObject(judge.r); c.reason == "" && large[hash].size > repo {
			c.reason = "a file is too large"
		}
	}
	return nil
}

// fatal tells the client that the server failed, once it can be told.
func (p *pushing) fatal(err error) error {
	text := "internal error; the server's log has the reason under request id " + p.c.RequestID
	if e, ok := errors.AsType[*Error](err); ok {
		text = e.Message
	}
	return p.answer.fatal(text)
}

// answer is what a client reads after a push. Until it begins, messages are kept.
type answer struct {
	w        io.Writer
	sideband bool

	mu    sync.Mutex
	begun bool
	kept  []byte
	err   error
}

const maxKept = 64 << 10

// message has the client show a text, as lines after "remote:".
func (a *answer) message(text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.show([]byte("sekisho: " + strings.TrimSpace(text) + "\n"))
}

// show is for who holds mu.
func (a *answer) show(data []byte) {
	switch {
	case !a.sideband:
	case !a.begun:
		if len(a.kept) < maxKept {
			a.kept = append(a.kept, data...)
		}
	case a.err == nil:
		a.err = sideband(a.w, 2, data)
		a.flush()
	}
}

func (a *answer) flush() {
	if f, ok := a.w.(interface{ FlushError() error }); ok && a.err == nil {
		a.err = f.FlushError()
	}
}

// begin writes what was kept and then something now and then, until stop, which can be called again.
func (a *answer) begin(every time.Duration) (stop func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.begun = true
	if len(a.kept) > 0 {
		a.show(a.kept)
		a.kept = nil
	}
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				a.mu.Lock()
				if a.sideband && a.err == nil {
					_, a.err = io.WriteString(a.w, "0005\x01")
					a.flush()
				}
				a.mu.Unlock()
			}
		}
	}()
	var once sync.Once
	return func() {
		once.Do(func() { close(done) })
		<-stopped
	}
}

// report writes what became of each command (gitprotocol-pack, "Report Status").
func (a *answer) report(unpacked string, req *pushRequest) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil || !req.status && !a.sideband {
		return a.err
	}
	var b bytes.Buffer
	if req.status {
		_ = writePacket(&b, "unpack "+unpacked+"\n")
		for i := range req.commands {
			c := &req.commands[i]
			if c.reason == "" {
				_ = writePacket(&b, "ok "+c.ref+"\n")
			} else {
				_ = writePacket(&b, "ng "+c.ref+" "+oneLine(c.reason)+"\n")
			}
		}
		b.WriteString(flushPacket)
	}
	if !a.sideband {
		_, a.err = a.w.Write(b.Bytes())
		return a.err
	}
	if a.err = sideband(a.w, 1, b.Bytes()); a.err == nil {
		_, a.err = io.WriteString(a.w, flushPacket)
	}
	return a.err
}

// fatal ends the answer with an error.
func (a *answer) fatal(text string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil && a.sideband {
		a.err = sideband(a.w, 3, []byte(oneLine(text)+"\n"))
	}
	return a.err
}

// progressWriter shows what git says of its progress, and none of its errors, which are told in another way.
type progressWriter struct {
	s *Service
	a *answer
}

func (w *progressWriter) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("esolving deltas")) {
		w.a.mu.Lock()
		w.a.show(p)
		w.a.mu.Unlock()
	}
	return len(p), nil
}

// oneLine makes a text fit into a line of a report.
func oneLine(text string) string {
	return clip(strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, strings.TrimSpace(text)), 500)
}

// input is the body of a request. It is read by one at a time, also when a program that read from it is not waited for any more.
type input struct {
	mu sync.Mutex
	r  io.Reader
}

func (i *input) Read(p []byte) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.r.Read(p)
}

// ignore reads the rest, of which there may be so many bytes.
func (i *input) ignore(most int64) error {
	n, err := io.Copy(io.Discard, io.LimitReader(i, most+1))
	if err != nil {
		return err
	}
	if n > most {
		return errorf(TooLarge, "the request goes on after its end, or is far larger than a push may be")
	}
	return nil
}

// capped is a reader of at most so many bytes; more are an error.
type capped struct {
	r    io.Reader
	left int64
	over error
}

func (c *capped) Read(p []byte) (int, error) {
	if int64(len(p)) > c.left+1 {
		p = p[:c.left+1]
	}
	n, err := c.r.Read(p)
	if int64(n) > c.left {
		return int(c.left), c.over
	}
	c.left -= int64(n)
	return n, err
}

// bytesText writes a number of bytes for people.
func bytesText(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}
