package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awscredentials "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/rogpeppe/go-internal/testscript"
)

// asRoot is for the AWS API of the server, as root of the default account.
func asRoot(ts *testscript.TestScript) aws.Config {
	return aws.Config{
		Region:       ts.Getenv("AWS_REGION"),
		BaseEndpoint: new(ts.Getenv("AWS_ENDPOINT_URL")),
		Credentials:  awscredentials.NewStaticCredentialsProvider(ts.Getenv("ACCESS_KEY"), ts.Getenv("SECRET"), ""),
	}
}

// cmdUser makes users that may do nothing yet, with an access key in NAME_KEY and NAME_SECRET, and the ARN in NAME_ARN: user
// NAME... What `aws iam` does in network.txtar, but at once.
func cmdUser(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: user NAME...")
	}
	c := iam.NewFromConfig(asRoot(ts))
	for _, name := range args {
		user, err := c.CreateUser(context.Background(), &iam.CreateUserInput{UserName: &name})
		ts.Check(err)
		key, err := c.CreateAccessKey(context.Background(), &iam.CreateAccessKeyInput{UserName: &name})
		ts.Check(err)
		upper := strings.ToUpper(name)
		ts.Setenv(upper+"_KEY", *key.AccessKey.AccessKeyId)
		ts.Setenv(upper+"_SECRET", *key.AccessKey.SecretAccessKey)
		ts.Setenv(upper+"_ARN", *user.User.Arn)
	}
}

const policyPage = "least-privilege.md"

// policyFile is a policy in the documentation, under the name that it has there.
var policyFile = regexp.MustCompile("(?s)<!-- file: ([a-z.-]+) -->\n```json\n(.*?)```\n")

// cmdPolicies writes the policies of docs/least-privilege.md here, with the server's account in place of the page's, which it also
// sets ACCOUNT to: policies. What people copy is what the scripts hold the server and its clients to.
func cmdPolicies(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: policies")
	}
	who, err := sts.NewFromConfig(asRoot(ts)).GetCallerIdentity(context.Background(), &sts.GetCallerIdentityInput{})
	ts.Check(err)
	ts.Setenv("ACCOUNT", *who.Account)
	page, err := os.ReadFile(filepath.Join("..", "docs", policyPage))
	ts.Check(err)
	for _, m := range policyFile.FindAllSubmatch(page, -1) {
		text := bytes.ReplaceAll(m[2], []byte("111122223333"), []byte(*who.Account))
		ts.Check(os.WriteFile(ts.MkAbs(string(m[1])), text, 0o600))
	}
}

// leastName is the inline policy that [cmdAllow] puts on users.
const leastName = "least"

// cmdAllow gives a user the policy of a file, instead of what an earlier allow gave, perhaps without some of its actions: allow USER
// FILE [ACTION...]. What is refused from then on is what [cmdMissing] looks at.
func cmdAllow(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: allow USER FILE [ACTION to leave out...]")
	}
	doc, err := without([]byte(ts.ReadFile(args[1])), args[2:])
	if err != nil {
		ts.Fatalf("%s: %v", args[1], err)
	}
	_, err = iam.NewFromConfig(asRoot(ts)).PutUserPolicy(context.Background(), &iam.PutUserPolicyInput{
		UserName: &args[0], PolicyName: aws.String(leastName), PolicyDocument: aws.String(string(doc)),
	})
	ts.Check(err)
	ts.Setenv("ALLOWED_AT", time.Now().UTC().Format(time.RFC3339Nano))
}

// without takes actions out of every statement of a policy. Each must have been there, or what is tested is not what was meant.
func without(doc []byte, actions []string) ([]byte, error) {
	var p struct {
		Version   string
		Statement []map[string]any
	}
	if err := json.Unmarshal(doc, &p); err != nil {
		return nil, err
	}
	for _, action := range actions {
		found := false
		p.Statement = slices.DeleteFunc(p.Statement, func(s map[string]any) bool {
			list, ok := s["Action"].([]any)
			if !ok {
				list = []any{s["Action"]}
			}
			n := len(list)
			list = slices.DeleteFunc(list, func(a any) bool { return a == action })
			found = found || len(list) < n
			s["Action"] = list
			return len(list) == 0
		})
		if !found {
			return nil, fmt.Errorf("it does not allow %s", action)
		}
	}
	return json.Marshal(p)
}

// cmdMissing waits until the audit record has all that was decided so far, and holds what a user was refused since the last allow to be
// exactly these actions: missing USER ACTION[@REPOSITORY]... It sets REQUEST to the last refused request's id.
func cmdMissing(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: missing USER ACTION[@REPOSITORY]...")
	}
	want := slices.Sorted(slices.Values(args[1:]))
	entries := recorded(ts)
	var got []string
	request := ""
	for _, e := range entries {
		if e.Allowed || e.Principal != ts.Getenv(strings.ToUpper(args[0])+"_ARN") {
			continue
		}
		if request == "" {
			request = e.RequestID
		}
		action := e.Action
		if _, repository, ok := strings.Cut(e.Resource, ":repository/"); ok && strings.Contains(args[1], "@") {
			action += "@" + repository
		}
		got = append(got, action)
	}
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, want) {
		ts.Fatalf("%s was refused %s, want %s", args[0], got, want)
	}
	ts.Setenv("REQUEST", request)
}

// cmdRecorded waits until the audit record has all that was decided so far: recorded.
func cmdRecorded(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: recorded")
	}
	recorded(ts)
}

// auditEntry is of what `sekisho audit` prints.
type auditEntry struct {
	Last                                   time.Time
	Principal, Action, Resource, RequestID string
	Allowed                                bool
}

// recorded returns the audit record since the last allow, newest first. It is written once a second, in order, so all is there once
// something is that is done now.
func recorded(ts *testscript.TestScript) []auditEntry {
	start := time.Now()
	who, err := iam.NewFromConfig(asRoot(ts)).ListUsers(context.Background(), &iam.ListUsersInput{})
	ts.Check(err)
	if len(who.Users) == 0 {
		ts.Fatalf("there are no users")
	}
	limit := time.NewTimer(startLimit)
	defer limit.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		audit := exec.Command(worldOf(ts).sekisho, "audit", "--data", ts.Getenv("DATA"), "--since", ts.Getenv("ALLOWED_AT"),
			"--limit", "10000", "--output", "json")
		audit.Env, audit.Stderr = serverEnv(), os.Stderr
		out, err := audit.Output()
		ts.Check(err)
		var entries []auditEntry
		ts.Check(json.Unmarshal(out, &entries))
		if slices.ContainsFunc(entries, func(e auditEntry) bool { return e.Action == "iam:ListUsers" && !e.Last.Before(start) }) {
			return entries
		}
		select {
		case <-limit.C:
			ts.Fatalf("the audit record does not have what was just done")
		case <-tick.C:
		}
	}
}
