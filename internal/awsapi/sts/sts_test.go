package sts_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
)

func refused(t *testing.T, err error, code, message string) {
	t.Helper()
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok || e.ErrorCode() != code || !strings.Contains(e.ErrorMessage(), message) {
		t.Errorf("got %v, want %s: …%s…", err, code, message)
	}
}

func TestAssumeRole(t *testing.T) {
	s := newServer(t)
	alice := s.as(s.alice)
	out, err := alice.AssumeRole(t.Context(), &sdk.AssumeRoleInput{
		RoleArn: aws.String(builder), RoleSessionName: aws.String("ci"), DurationSeconds: aws.Int32(7200),
		Policy: aws.String(`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`), PolicyArns: []types.PolicyDescriptorType{{Arn: aws.String("arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly")}},
		Tags: []types.Tag{{Key: aws.String("Team"), Value: aws.String("Blue")}}, TransitiveTagKeys: []string{"Team"},
	})
	if err != nil {
		t.Fatal(err)
	}
	c := out.Credentials
	if left := time.Until(*c.Expiration); left > 2*time.Hour || left < 2*time.Hour-time.Minute {
		t.Errorf("expires in %v", left)
	}
	//lint:ignore SA1019 most clients know no other member for it
	if n := out.PackedPolicySize; n == nil || *n < 1 {
		t.Errorf("packed size %v", n)
	}
	who, err := s.client(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken).GetCallerIdentity(t.Context(), &sdk.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	got := []string{*who.Account, *who.Arn, *who.UserId, *out.AssumedRoleUser.Arn}
	arn := "arn:aws:sts::" + account + ":assumed-role/builder/ci"
	if diff := cmp.Diff([]string{account, arn, *out.AssumedRoleUser.AssumedRoleId, arn}, got); diff != "" || !strings.HasSuffix(*who.UserId, ":ci") {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, tt := range map[string]struct{ id, secret, token, code string }{
		"no token":       {*c.AccessKeyId, *c.SecretAccessKey, "", "InvalidClientTokenId"},
		"other token":    {*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken + "A", "InvalidClientTokenId"},
		"wrong secret":   {*c.AccessKeyId, "x", *c.SessionToken, "SignatureDoesNotMatch"},
		"of alice's":     {s.alice.ID, s.alice.Secret.Reveal(), *c.SessionToken, "InvalidClientTokenId"},
		"unknown key":    {"AKIAXXXXXXXXXXXXXXXX", "x", "", "SignatureDoesNotMatch"},
		"alice, guessed": {s.alice.ID, "x", "", "SignatureDoesNotMatch"},
	} {
		_, err := s.client(tt.id, tt.secret, tt.token).GetCallerIdentity(t.Context(), &sdk.GetCallerIdentityInput{})
		t.Run(name, func(t *testing.T) { refused(t, err, tt.code, "") })
	}

	for name, tt := range map[string]struct {
		change        func(*sdk.AssumeRoleInput)
		code, message string
	}{
		"MFA": {func(in *sdk.AssumeRoleInput) {
			in.SerialNumber, in.TokenCode = aws.String("arn:aws:iam::1:mfa/a"), aws.String("123456")
		}, "AccessDenied", "there are no MFA devices"},
		"name":       {func(in *sdk.AssumeRoleInput) { in.RoleSessionName = aws.String("a b") }, "ValidationError", "Value 'a b' at 'roleSessionName' failed to satisfy constraint"},
		"short":      {func(in *sdk.AssumeRoleInput) { in.DurationSeconds = aws.Int32(60) }, "ValidationError", "greater than or equal to 900"},
		"long":       {func(in *sdk.AssumeRoleInput) { in.DurationSeconds = aws.Int32(7201) }, "ValidationError", "MaxSessionDuration"},
		"policy":     {func(in *sdk.AssumeRoleInput) { in.Policy = aws.String("{") }, "MalformedPolicyDocument", "line 1"},
		"other role": {func(in *sdk.AssumeRoleInput) { in.RoleArn = aws.String(builder + "x") }, "AccessDenied", "is not authorized to perform: sts:AssumeRole on resource: " + builder + "x"},
		"identity":   {func(in *sdk.AssumeRoleInput) { in.SourceIdentity = aws.String("alice") }, "AccessDenied", "sts:SetSourceIdentity"},
		"contexts": {func(in *sdk.AssumeRoleInput) {
			in.ProvidedContexts = []types.ProvidedContext{{ContextAssertion: aws.String("abcd")}}
		}, "InvalidParameterValue", "ProvidedContexts"},
		"tags of AWS": {func(in *sdk.AssumeRoleInput) {
			in.Tags = []types.Tag{{Key: aws.String("aws:x"), Value: aws.String("")}}
		}, "InvalidParameterValue", "reserved"},
		"many tags": {func(in *sdk.AssumeRoleInput) { in.TransitiveTagKeys = make([]string, 51) }, "ValidationError", "transitiveTagKeys"},
	} {
		in := &sdk.AssumeRoleInput{RoleArn: aws.String(builder), RoleSessionName: aws.String("ci")}
		tt.change(in)
		_, err := alice.AssumeRole(t.Context(), in)
		t.Run(name, func(t *testing.T) { refused(t, err, tt.code, tt.message) })
	}
	for _, secret := range []string{*c.SecretAccessKey, *c.SessionToken, s.alice.Secret.Reveal()} {
		if strings.Contains(s.log.String(), secret) {
			t.Error("a secret is in the log")
		}
	}
}

func TestWebIdentity(t *testing.T) {
	s := newServer(t)
	nobody := sdk.New(sdk.Options{Region: region, BaseEndpoint: &s.URL, RetryMaxAttempts: 1})
	ask := func(token string) (*sdk.AssumeRoleWithWebIdentityOutput, error) {
		return nobody.AssumeRoleWithWebIdentity(t.Context(), &sdk.AssumeRoleWithWebIdentityInput{
			RoleArn: aws.String(builder), RoleSessionName: aws.String("ci"), WebIdentityToken: &token,
		})
	}
	token := s.token(t, "repo:a/b")
	out, err := ask(token)
	if err != nil {
		t.Fatal(err)
	}
	provider := "arn:aws:iam::" + account + ":oidc-provider/" + strings.TrimPrefix(s.issuer.URL, "https://")
	if *out.Audience != "sts.amazonaws.com" || *out.SubjectFromWebIdentityToken != "repo:a/b" || *out.Provider != provider {
		t.Errorf("%v %v %v", *out.Audience, *out.SubjectFromWebIdentityToken, *out.Provider)
	}
	c := out.Credentials
	who, err := s.client(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken).GetCallerIdentity(t.Context(), &sdk.GetCallerIdentityInput{})
	if err != nil || *who.Arn != *out.AssumedRoleUser.Arn {
		t.Errorf("%v, %v", who, err)
	}
	_, err = ask(s.token(t, "repo:a/c"))
	refused(t, err, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
	_, err = ask("a.b.c")
	refused(t, err, "InvalidIdentityToken", "not a signed JSON Web Token")
	_, err = ask(token[:len(token)-8] + "AAAAAAAA")
	refused(t, err, "InvalidIdentityToken", "signature")
	_, err = ask(strings.Repeat("a", 20001))
	refused(t, err, "ValidationError", "webIdentityToken")
	if strings.Contains(s.log.String(), token) || err != nil && strings.Contains(err.Error(), "aaaa") {
		t.Error("a token is in the log or in an error")
	}
	_, err = nobody.AssumeRoleWithWebIdentity(t.Context(), &sdk.AssumeRoleWithWebIdentityInput{
		RoleArn: aws.String(builder), RoleSessionName: aws.String("ci"), WebIdentityToken: &token, ProviderId: aws.String("www.amazon.com"),
	})
	refused(t, err, "InvalidParameterValue", "ProviderId")
}

func TestOthers(t *testing.T) {
	s := newServer(t)
	root, alice := s.as(s.root), s.as(s.alice)
	who, err := root.GetCallerIdentity(t.Context(), &sdk.GetCallerIdentityInput{})
	if err != nil || *who.UserId != account || *who.Arn != "arn:aws:iam::"+account+":root" {
		t.Errorf("%v, %v", who, err)
	}
	if who, err = alice.GetCallerIdentity(t.Context(), &sdk.GetCallerIdentityInput{}); err != nil || !strings.HasPrefix(*who.UserId, "AIDA") {
		t.Errorf("%v, %v", who, err)
	}
	made, err := alice.GetSessionToken(t.Context(), &sdk.GetSessionTokenInput{DurationSeconds: aws.Int32(900)})
	if err != nil {
		t.Fatal(err)
	}
	temporary := s.client(*made.Credentials.AccessKeyId, *made.Credentials.SecretAccessKey, *made.Credentials.SessionToken)
	again, err := temporary.GetCallerIdentity(t.Context(), &sdk.GetCallerIdentityInput{})
	if err != nil || *again.Arn != *who.Arn || *again.UserId != *who.UserId {
		t.Errorf("%v, %v", again, err)
	}
	_, err = temporary.GetSessionToken(t.Context(), &sdk.GetSessionTokenInput{})
	refused(t, err, "AccessDenied", "Cannot call GetSessionToken with session credentials")
	_, err = alice.GetSessionToken(t.Context(), &sdk.GetSessionTokenInput{TokenCode: aws.String("123456")})
	refused(t, err, "AccessDenied", "MFA")
	info, err := root.GetAccessKeyInfo(t.Context(), &sdk.GetAccessKeyInfoInput{AccessKeyId: &s.alice.ID})
	if err != nil || *info.Account != account {
		t.Errorf("%v, %v", info, err)
	}
	_, err = alice.GetAccessKeyInfo(t.Context(), &sdk.GetAccessKeyInfoInput{AccessKeyId: &s.alice.ID})
	refused(t, err, "AccessDenied", "sts:GetAccessKeyInfo")
	_, err = root.DecodeAuthorizationMessage(t.Context(), &sdk.DecodeAuthorizationMessageInput{EncodedMessage: aws.String("x")})
	refused(t, err, "InvalidAuthorizationMessageException", "Message is not valid")
	_, err = root.GetFederationToken(t.Context(), &sdk.GetFederationTokenInput{Name: aws.String("bob")})
	refused(t, err, "UnsupportedOperation", "sts:GetFederationToken is not supported")
	_, err = root.AssumeRoleWithSAML(t.Context(), &sdk.AssumeRoleWithSAMLInput{
		PrincipalArn: aws.String(builder), RoleArn: aws.String(builder), SAMLAssertion: aws.String("abcdefgh"),
	})
	// The SDK signs no such request.
	refused(t, err, "MissingAuthenticationToken", "")
}
