package main

import (
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/nave-dev/nave/api"
)

// secret says where a password is: never in the configuration itself, which is copied, shown and kept in repositories.
type secret struct {
	File string `yaml:"password_file"`
	Env  string `yaml:"password_env"`
}

func (s secret) given() bool { return s.File != "" || s.Env != "" }

func (s secret) check(section string) error {
	if s.File != "" && s.Env != "" {
		return api.Invalid(section+".password_file", "and password_env are both given: leave one of them out")
	}
	return nil
}

// read returns the secret without the line break at its end; "" when none is given.
func (s secret) read(section string) (string, error) {
	switch {
	case s.File != "":
		return readSecret(section+".password_file", s.File)
	case s.Env != "":
		v := os.Getenv(s.Env)
		if v == "" {
			return "", api.Invalid(section+".password_env", "the environment variable %s is not set or empty", s.Env)
		}
		return v, nil
	}
	return "", nil
}

func readSecret(field, path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", api.Invalid(field, "%w", err)
	}
	text := strings.TrimRight(string(b), "\r\n")
	if text == "" {
		return "", api.Invalid(field, "%s is empty: it is to hold the password", path)
	}
	return text, nil
}

var (
	passwordWord  = regexp.MustCompile(`(?i)(^|\s)password\s*=`)
	passwordParam = regexp.MustCompile(`(?i)[?&]password=`)
)

// connection is the connection string with a password put in. A string that has one by itself is refused, and not repeated.
func (p *postgresConfig) connection(password string) (string, error) {
	const field = "archive.postgresql.dsn"
	own := api.Invalid(field, "holds a password: put it into a file or the environment, and name that by password_file or password_env")
	if !strings.HasPrefix(p.DSN, "postgres://") && !strings.HasPrefix(p.DSN, "postgresql://") {
		if passwordWord.MatchString(p.DSN) {
			return "", own
		}
		if !strings.Contains(p.DSN, "=") {
			return "", api.Invalid(field, "is not a connection string: use postgres://user@host:port/database, or key=value pairs")
		}
		if password == "" {
			return p.DSN, nil
		}
		return p.DSN + " password='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(password) + "'", nil
	}
	u, err := url.Parse(p.DSN)
	if err != nil {
		return "", api.Invalid(field, "is not a connection string: use postgres://user@host:port/database")
	}
	if _, has := u.User.Password(); has || passwordParam.MatchString(p.DSN) {
		return "", own
	}
	if password != "" {
		u.User = url.UserPassword(u.User.Username(), password)
	}
	return u.String(), nil
}

// place is the connection string as it may be shown: it holds no secret, since one with a password is refused.
func (p *postgresConfig) place() string {
	if u, err := url.Parse(p.DSN); err == nil && u.Host != "" {
		return u.Host + u.Path
	}
	return p.DSN
}
