package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
)

// overlay asks the overlay's controller what it keeps, by its management API.
type overlay struct {
	http  *http.Client
	base  string
	token string
}

// openOverlay logs in once: each login is an object of its own. dir is the overlay's in the hub's data directory.
func openOverlay(ctx context.Context, dir string) (*overlay, error) {
	var admin struct{ User, Password string }
	var settings struct {
		Address string `json:"address"`
		Port    int    `json:"controllerPort"`
	}
	if err := errors.Join(read(filepath.Join(dir, "controller", "admin.json"), &admin), read(filepath.Join(dir, "settings.json"), &settings)); err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(dir, "controller", "pki", "ca.pem"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	o := &overlay{base: fmt.Sprintf("https://%s:%d/edge/management/v1/", settings.Address, settings.Port),
		http: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}}}
	body, err := json.Marshal(map[string]string{"username": admin.User, "password": admin.Password})
	if err != nil {
		return nil, err
	}
	var res struct {
		Data struct {
			Token string `json:"token"`
		} `json:"data"`
	}
	if err := o.call(ctx, http.MethodPost, "authenticate?method=password", body, &res); err != nil {
		return nil, err
	}
	o.token = res.Data.Token
	return o, nil
}

func read(path string, into any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

func (o *overlay) call(ctx context.Context, method, path string, body []byte, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, o.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("zt-session", o.token)
	res, err := o.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("overlay: %s %s: %s", method, path, res.Status)
	}
	return json.NewDecoder(res.Body).Decode(into)
}

// count is how many objects of a kind there are.
func (o *overlay) count(ctx context.Context, kind string) (int64, error) {
	var res struct {
		Meta struct {
			Pagination struct {
				Total *int64 `json:"totalCount"`
			} `json:"pagination"`
		} `json:"meta"`
	}
	if err := o.call(ctx, http.MethodGet, kind+"?limit=1", nil, &res); err != nil {
		return 0, err
	}
	if res.Meta.Pagination.Total == nil {
		return 0, fmt.Errorf("overlay: the list of %s has no total", kind)
	}
	return *res.Meta.Pagination.Total, nil
}

// overlay counts the objects of the overlay. Who is killed leaves a session of the API, and one of the service, which the
// controller forgets after a time of its own, as does each look of ours: starts are how many may have done so.
func (t *table) overlay(ctx context.Context, o *overlay, starts int) error {
	for _, k := range []struct {
		kind  string
		slack int64
	}{{"identities", none}, {"services", none}, {"service-policies", none}, {"edge-router-policies", none}, {"service-edge-router-policies", none},
		{"edge-routers", none}, {"terminators", none}, {"api-sessions", int64(starts)}, {"sessions", int64(starts)}, {"enrollments", none}} {
		n, err := o.count(ctx, k.kind)
		if err != nil {
			return err
		}
		t.add("overlay: "+k.kind, n, count, k.slack, 0)
	}
	return nil
}
