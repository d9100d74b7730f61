package identity

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// maxToken bounds a token, in bytes. Those of an API server have some 1,300.
const maxToken = 8 << 10

// leeway is by how much the clocks of the API server and of the spoke may differ.
const leeway = jwt.DefaultLeeway

// algorithms are those that API servers sign with.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256}

// The claims that may not fit although nothing is wrong with who bears the token.
const (
	claimPod    = "pod" // the name for which somebody asks
	claimUID    = "kubernetes.io.pod.uid"
	claimExpiry = "exp"
)

// misfit says why a token is refused. It is for the log.
type misfit struct {
	claim string // what did not fit
	said  string // what the token says there, when that was signed
	want  string
}

func (m *misfit) Error() string { return "the token does not fit by " + m.claim }

// claims are those of a service account token that is bound to a pod.
type claims struct {
	jwt.Claims
	kubernetes
}

type kubernetes struct {
	Bound struct {
		Namespace string `json:"namespace"`
		Pod       struct {
			Name string `json:"name"`
			UID  string `json:"uid"`
		} `json:"pod"`
		ServiceAccount struct {
			Name string `json:"name"`
		} `json:"serviceaccount"`
	} `json:"kubernetes.io"`
}

// parse reads a token without believing it. It has one header.
func parse(token string) (*jwt.JSONWebToken, error) {
	if len(token) > maxToken {
		return nil, &misfit{claim: "size", want: fmt.Sprintf("at most %d bytes", maxToken)}
	}
	t, err := jwt.ParseSigned(token, algorithms)
	if err != nil { // the text of the error may hold parts of the token
		var other *jose.ErrUnexpectedSignatureAlgorithm
		if errors.As(err, &other) {
			return nil, &misfit{claim: "alg", want: fmt.Sprint(algorithms)}
		}
		return nil, &misfit{claim: "form", want: "a signed token in compact form"}
	}
	if len(t.Headers) != 1 || t.Headers[0].KeyID == "" {
		return nil, &misfit{claim: "kid", want: "the id of a published key"}
	}
	return t, nil
}

// open checks the signature by any of the keys of this id and returns what was signed.
func open(t *jwt.JSONWebToken, keys []key) (claims, error) {
	for _, k := range keys {
		if string(k.algorithm) != t.Headers[0].Algorithm {
			continue
		}
		var c claims
		err := t.Claims(k.public, &c.Claims, &c.kubernetes)
		switch {
		case err == nil:
			return c, nil
		case !errors.Is(err, jose.ErrCryptoFailure): // signed, and not what an API server signs
			return claims{}, &misfit{claim: "claims", want: "those of a service account token"}
		}
	}
	return claims{}, &misfit{claim: "signature", want: "one by the key that the token names"}
}

// wanted is what the claims must say.
type wanted struct {
	issuer, audience        string
	account, namespace, pod string
	uid                     string
	now                     time.Time
}

// fit returns nil when every claim fits, else a [misfit] about the first that does not. The pod comes last, so that only a token
// which is right in everything else is told that nobody knows the pod.
func (c claims) fit(w wanted) error {
	b := c.Bound
	if !slices.Equal(c.Audience, jwt.Audience{w.audience}) { // who else gets the token could bear it
		return &misfit{claim: "aud", said: fmt.Sprint([]string(c.Audience)), want: w.audience}
	}
	for _, is := range []struct {
		claim string
		at    *jwt.NumericDate
		ok    func(time.Time) bool
	}{
		{claimExpiry, c.Expiry, func(at time.Time) bool { return w.now.Add(-leeway).Before(at) }},
		{"nbf", c.NotBefore, func(at time.Time) bool { return !w.now.Add(leeway).Before(at) }},
		{"iat", c.IssuedAt, func(at time.Time) bool { return !w.now.Add(leeway).Before(at) }},
	} {
		if is.at == nil || !is.ok(is.at.Time()) {
			return &misfit{claim: is.claim, said: stamp(is.at), want: "valid at " + w.now.UTC().Format(time.RFC3339)}
		}
	}
	for _, is := range []struct {
		claim, said, want string
	}{
		{"iss", c.Issuer, w.issuer},
		{"sub", c.Subject, "system:serviceaccount:" + w.namespace + ":" + w.account},
		{"kubernetes.io.serviceaccount.name", b.ServiceAccount.Name, w.account},
		{"kubernetes.io.namespace", b.Namespace, w.namespace},
		{"kubernetes.io.pod.name", b.Pod.Name, w.pod},
		{claimUID, b.Pod.UID, w.uid},
	} {
		if is.said != is.want || is.want == "" {
			return &misfit{claim: is.claim, said: is.said, want: is.want}
		}
	}
	return nil
}

func stamp(at *jwt.NumericDate) string {
	if at == nil {
		return ""
	}
	return at.Time().UTC().Format(time.RFC3339)
}
