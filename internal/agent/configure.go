package agent

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/sekisho/sekisho/internal/agent/rpc"
	agentv1 "github.com/sekisho/sekisho/internal/agent/rpc/sekisho/agent/v1"
)

// Answers are what is known before anybody is asked. Empty ones are asked for.
type Answers struct {
	License bool // accepted
	URL     string
	Auth    string
	Token   string
	Pool    string
	Name    string
	Work    string

	Replace bool // an agent of the same name may go
}

// ConfigureOptions are those of [Folder.Configure].
type ConfigureOptions struct {
	Answers
	Unattended bool   // nobody is asked
	Account    string // of the pool; empty: what the credential says, or the server's default
	OneJob     bool
	Proxy      string
	CAFile     string
	AllowHTTP  bool
	MinFree    int64    // bytes
	Tasks      []string // folders with published tasks
	Version    string
	Environ    []string

	// Ask shows a question and returns the line that is answered, of a secret without showing it. io.EOF: there is nobody.
	Ask func(question string, secret bool) (string, error)
	Out io.Writer
}

// question is one of the configuration's.
type question struct {
	text      string
	otherwise string // what an empty answer stands for
	secret    bool
	flag      string // by which it can be answered too
	given     *string
	// take checks an answer and keeps it. Its error is shown, and the question asked again.
	take func(answer string) error
}

// configuration is a run of the questions.
type configuration struct {
	folder Folder
	o      ConfigureOptions
	url    string
	hello  *agentv1.HelloResponse
	key    crypto.Signer
	pem    []byte
	public []byte
	cred   *credential
	good   *agentv1.CheckResponse
	pool   string
	client *client
	signer *signer
}

// Configure makes this folder an agent: it asks what it needs to know, checks each answer, and enrols.
func (f Folder) Configure(ctx context.Context, o ConfigureOptions) error {
	if f.Configured() {
		return fmt.Errorf("an agent is configured in %s already; remove it first: sekisho agent remove", f)
	}
	c := &configuration{folder: f, o: o}
	var err error
	if c.o.Tasks, err = taskFolders(o.Tasks); err != nil {
		return err
	}
	if c.key, c.pem, c.public, err = newKey(); err != nil {
		return err
	}
	defer func() {
		if c.client != nil {
			c.client.close()
		}
	}()
	accepted := ""
	if o.License {
		accepted = "Y"
	}
	c.say("\n>> License:\n")
	c.say("Sekisho is free software under the Apache License 2.0, without warranty of any kind:\nhttps://www.apache.org/licenses/LICENSE-2.0\n")
	err = c.ask(ctx, question{
		text: "Enter (Y/N) Accept the license agreement now?", otherwise: "N", flag: "--accept-license", given: &accepted, take: c.takeLicense,
	})
	if err != nil {
		return err
	}
	c.say("\n>> Connect:\n")
	steps := []question{
		{text: "Enter server URL", flag: "--url", given: &c.o.URL, take: func(s string) error { return c.takeURL(ctx, s) }},
		{text: "Enter authentication type", otherwise: "PAT", flag: "--auth", given: &c.o.Auth, take: c.takeAuth},
		{secret: true, flag: "--token-file", given: &c.o.Token, take: func(s string) error { return c.takeToken(ctx, s) }},
		{text: "Enter agent pool", flag: "--pool", given: &c.o.Pool, take: c.takePool},
		{text: "Enter agent name", otherwise: hostname(), flag: "--agent", given: &c.o.Name, take: func(s string) error { return c.takeName(ctx, s) }},
		{text: "Enter work folder", otherwise: DefaultWork, flag: "--work", given: &c.o.Work, take: c.takeWork},
	}
	for i := range steps {
		q := &steps[i]
		switch i {
		case 2:
			if c.o.Auth == AuthSTS { // nothing to type: it is this machine's
				if err := c.takeToken(ctx, ""); err != nil {
					return err
				}
				continue
			}
			q.text = map[string]string{
				AuthPAT: "Enter personal access token", AuthCode: "Enter enrolment code", AuthOIDC: "Enter identity token",
			}[c.o.Auth]
		case 3:
			c.say("\n>> Register Agent:\n")
			q.otherwise = c.defaultPool()
		case 4:
			if c.good.GetAgent() != "" {
				q.otherwise = c.good.GetAgent()
			}
		}
		if err := c.ask(ctx, *q); err != nil {
			return err
		}
	}
	return c.enrol(ctx)
}

func (c *configuration) say(format string, args ...any) { fmt.Fprintf(c.o.Out, format+"\n", args...) }

// ask takes the answer that is given, or asks until there is one.
func (c *configuration) ask(ctx context.Context, q question) error {
	answer := strings.TrimSpace(*q.given)
	if c.o.Unattended && answer == "" {
		answer = q.otherwise
	}
	if answer != "" {
		return q.take(answer)
	}
	variable := InputPrefix + strings.ToUpper(strings.ReplaceAll(strings.TrimPrefix(q.flag, "--"), "-", "_"))
	if c.o.Unattended {
		return fmt.Errorf("nobody is there to ask: %s is missing; give it with %s or the variable %s", strings.TrimPrefix(q.text, "Enter "), q.flag, variable)
	}
	text := q.text
	if q.otherwise != "" {
		text += " (press enter for " + q.otherwise + ")"
	}
	for {
		answer, err := c.o.Ask(text+" > ", q.secret)
		if errors.Is(err, io.EOF) && strings.TrimSpace(answer) == "" {
			return fmt.Errorf("nobody answers %q; give the answer with %s or the variable %s, and --unattended", q.text, q.flag, variable)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if answer = strings.TrimSpace(answer); answer == "" {
			answer = q.otherwise
		}
		if answer == "" {
			c.say("Enter a value.")
			continue
		}
		err = q.take(answer)
		if final, ok := errors.AsType[*finalError](err); ok {
			return final.error
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		c.say("%s", err)
	}
}

// finalError is one after which asking again makes no sense.
type finalError struct{ error }

func (c *configuration) takeLicense(s string) error {
	switch strings.ToLower(s) {
	case "y", "yes", "true":
		return nil
	case "n", "no", "false":
		return &finalError{errors.New("without the license's acceptance there is no agent")}
	}
	return errors.New("answer Y or N")
}

func (c *configuration) takeURL(ctx context.Context, s string) error {
	u, err := CheckURL(s, c.o.AllowHTTP)
	if err != nil {
		return err
	}
	sign := &signer{key: c.key, userAgent: "sekisho-agent/" + c.o.Version}
	cl, err := newClient(&Route{URL: u, Proxy: c.o.Proxy, CAFile: c.o.CAFile}, sign)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	out, err := cl.Hello(ctx, connect.NewRequest(&agentv1.HelloRequest{Version: c.o.Version}))
	if err != nil {
		cl.close()
		return fmt.Errorf("%s does not answer as a server does: %s; sekisho agent doctor --url %s says more", u, message(err), u)
	}
	if p := out.Msg.GetProtocol(); p != rpc.Protocol {
		cl.close()
		return fmt.Errorf("the server %s (version %s) speaks protocol %d, and this agent (version %s) %d: install the agent that the server has at %s/agents/",
			u, out.Msg.GetVersion(), p, c.o.Version, rpc.Protocol, u)
	}
	c.url, c.client, c.signer, c.hello = u, cl, sign, out.Msg
	return nil
}

func (c *configuration) takeAuth(s string) error {
	s = strings.ToLower(s)
	switch s {
	case "negotiate", "integrated", "alt":
		return fmt.Errorf("%s is not supported: take %s", s, strings.Join(AuthTypes, ", "))
	}
	if !slices.Contains(AuthTypes, s) {
		return fmt.Errorf("there is no authentication type %q; there are %s", s, strings.Join(AuthTypes, ", "))
	}
	c.o.Auth = s
	return nil
}

// authorized sets the credential of a call.
func authorized[T any](c *configuration, m *T) *connect.Request[T] {
	c.signer.authorization = c.cred.header
	return connect.NewRequest(m)
}

func (c *configuration) takeToken(ctx context.Context, s string) error {
	var err error
	if c.cred, err = newCredential(ctx, c.o.Auth, s, c.o.Account, c.url, c.hello.GetRegion(), c.public); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	out, err := c.client.Check(ctx, authorized(c, &agentv1.CheckRequest{Credential: c.cred.message, PublicKey: c.public}))
	if err != nil {
		return fmt.Errorf("the server refuses it: %s", message(err))
	}
	c.good = out.Msg
	if len(c.good.GetPools()) == 0 {
		return &finalError{fmt.Errorf("%s may have agents in no pool: it needs agents:RegisterAgent on one, and there must be one; sekisho pool create makes it", c.good.GetPrincipal())}
	}
	return nil
}

// defaultPool is the only one there is, or the one of that name.
func (c *configuration) defaultPool() string {
	pools := c.good.GetPools()
	if len(pools) == 1 {
		return pools[0]
	}
	for _, p := range pools {
		if strings.EqualFold(p, "default") {
			return p
		}
	}
	return ""
}

func (c *configuration) takePool(s string) error {
	for _, p := range c.good.GetPools() {
		if strings.EqualFold(p, s) {
			c.pool = p
			return nil
		}
	}
	return fmt.Errorf("there is no pool %q that %s may have agents in; there are: %s", s, c.good.GetPrincipal(), strings.Join(c.good.GetPools(), ", "))
}

func (c *configuration) takeName(ctx context.Context, s string) error {
	call, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	out, err := c.client.Check(call, authorized(c, &agentv1.CheckRequest{Credential: c.cred.message, PublicKey: c.public, Pool: c.pool, Agent: s}))
	if err != nil {
		return errors.New(message(err))
	}
	if only := c.good.GetAgent(); only != "" && !strings.EqualFold(only, s) {
		return fmt.Errorf("the code is for an agent of the name %s", only)
	}
	if out.Msg.GetTaken() && !c.o.Replace {
		if c.o.Unattended {
			return fmt.Errorf("there is an agent %s in pool %s already; replace it with --replace, or take another name", s, c.pool)
		}
		answer, err := c.o.Ask(fmt.Sprintf("There is an agent %s in pool %s. Enter replace? (Y/N) (press enter for N) > ", s, c.pool), false)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
			return errors.New("then take another name")
		}
		c.o.Replace = true
	}
	c.o.Name = s
	return nil
}

func (c *configuration) takeWork(s string) error {
	dir := s
	if !filepath.IsAbs(dir) {
		dir = c.folder.path(dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("the work folder can't be made: %w", err)
	}
	probe, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return fmt.Errorf("the work folder can't be written to: %w", err)
	}
	_ = probe.Close()
	_ = os.Remove(probe.Name())
	c.o.Work = s
	return nil
}

// taskFolders are folders with published tasks, absolute.
func taskFolders(dirs []string) ([]string, error) {
	var all []string
	for _, dir := range dirs {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, fmt.Errorf("the folder of tasks %s: %w", dir, err)
		}
		if info, err := os.Stat(abs); err != nil {
			return nil, fmt.Errorf("the folder of tasks: %w", err)
		} else if !info.IsDir() {
			return nil, fmt.Errorf("%s is no folder: name the one that has the folders of the tasks in it", abs)
		}
		all = append(all, abs)
	}
	return all, nil
}

// enrol makes the agent and keeps what it is.
func (c *configuration) enrol(ctx context.Context) error {
	c.say("Scanning for tool capabilities.")
	can := Capabilities(ctx, c.o.Environ)
	c.say("Connecting to the server.")
	call, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	// With the same key it can be repeated: an answer that is lost costs nothing.
	out, err := retry(call, func(ctx context.Context) (*connect.Response[agentv1.EnrollResponse], error) {
		return c.client.Enroll(ctx, authorized(c, &agentv1.EnrollRequest{
			Credential: c.cred.message, Pool: c.pool, Name: c.o.Name, PublicKey: c.public, Replace: c.o.Replace, OneJob: c.o.OneJob,
			Facts: localFacts(c.o.Version, can, ""),
		}))
	})
	if err != nil {
		return fmt.Errorf("enrol: %s", message(err))
	}
	m := out.Msg
	c.say("Successfully added the agent")
	s := &Settings{
		URL: c.url, AgentID: m.GetAgentId(), Name: m.GetName(), Pool: m.GetPool(), Account: m.GetAccount(), Work: c.o.Work, OneJob: m.GetOneJob(),
		Proxy: c.o.Proxy, CAFile: c.o.CAFile, AllowHTTP: c.o.AllowHTTP, MinFree: c.o.MinFree, Tasks: c.o.Tasks,
	}
	if s.CAFile != "" {
		if s.CAFile, err = filepath.Abs(s.CAFile); err != nil {
			return err
		}
	}
	if err := c.folder.save(s, c.pem); err != nil {
		return err
	}
	c.say("Testing agent connection.")
	c.signer.agent, c.signer.authorization = s.AgentID, ""
	if _, err := c.client.Report(call, connect.NewRequest(&agentv1.ReportRequest{Facts: localFacts(c.o.Version, can, "")})); err != nil {
		return fmt.Errorf("the agent is configured, and its first call fails: %s", message(err))
	}
	c.say("%s: Settings Saved.", time.Now().UTC().Format("2006-01-02 15:04:05Z"))
	return nil
}

// Remove deletes the agent here and on the server. Where the server can't be asked, force forgets it here alone.
func (f Folder) Remove(ctx context.Context, version string, force bool, out io.Writer) error {
	settings, key, err := f.Load()
	if errors.Is(err, ErrNotConfigured) {
		return err
	}
	if err == nil {
		err = f.removeThere(ctx, settings, key, version)
	}
	if err != nil {
		if !force {
			return fmt.Errorf("%w; --force forgets the agent here, and somebody has to delete it in the pool", err)
		}
		fmt.Fprintf(out, "The server was not told: %s\n", err)
	}
	if err := f.forget(); err != nil {
		return fmt.Errorf("forget the agent: %w", err)
	}
	fmt.Fprintln(out, "The agent is removed. The work folder is left as it is.")
	return nil
}

func (f Folder) removeThere(ctx context.Context, s *Settings, key crypto.Signer, version string) error {
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	c, err := newClient(&Route{URL: s.URL, Proxy: s.Proxy, CAFile: s.CAFile}, &signer{key: key, agent: s.AgentID, userAgent: "sekisho-agent/" + version})
	if err != nil {
		return err
	}
	defer c.close()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, err = c.Remove(ctx, connect.NewRequest(&agentv1.RemoveRequest{}))
	if err != nil && reason(err) != rpc.ReasonUnknown { // one that is gone is as good as removed
		return fmt.Errorf("remove the agent from pool %s: %s", s.Pool, message(err))
	}
	return nil
}
