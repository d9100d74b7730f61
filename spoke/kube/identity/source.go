package identity

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"k8s.io/client-go/rest"
)

// Where an API server publishes what its tokens are checked by. The role system:service-account-issuer-discovery allows it to
// every service account.
const (
	configurationPath = "/.well-known/openid-configuration"
	keysPath          = "/openid/v1/jwks" // the configuration names another address, which need not be reached from inside
)

// maxAnswer bounds each document, in bytes. One with two keys has some 1,000.
const maxAnswer = 256 << 10

// source asks the API server.
type source struct {
	client *http.Client
	base   *url.URL
}

func newSource(cfg *rest.Config) (*source, error) {
	base, _, err := rest.DefaultServerUrlFor(cfg)
	if err != nil {
		return nil, err
	}
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, err
	}
	own := *client
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // an API server sends nobody elsewhere
	return &source{&own, base}, nil
}

// fetch reads both documents.
func (s *source) fetch(ctx context.Context) (*keySet, error) {
	configuration, err := s.get(ctx, configurationPath)
	if err != nil {
		return nil, err
	}
	published, err := s.get(ctx, keysPath)
	if err != nil {
		return nil, err
	}
	return parseKeySet(configuration, published)
}

func (s *source) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base.JoinPath(path).String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json, application/jwk-set+json")
	res, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusForbidden, http.StatusUnauthorized:
		return nil, fmt.Errorf("get %s: %s; bind the cluster role system:service-account-issuer-discovery to the spoke's service account", path, res.Status)
	case http.StatusNotFound:
		return nil, fmt.Errorf("get %s: %s; the API server publishes no keys: its --service-account-issuer must be an https URL", path, res.Status)
	default:
		return nil, fmt.Errorf("get %s: %s", path, res.Status)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", path, err)
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("get %s: the answer has more than %d bytes", path, maxAnswer)
	}
	return body, nil
}
