package harness

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// Where skills are, below home. Some agents look in the second place alone: it is a link to the first.
const (
	skillsDir  = ".agents/skills"
	skillsLink = ".claude/skills"
	skillsTo   = "../.agents/skills" // from there
	skillMark  = ".nave"             // in a directory that the harness made, and may remove
)

// skilled reports that preparing a workload may change skills.
func skilled(w *harnessv1.Workload) bool {
	_, err := os.Lstat(filepath.Join(w.Home, skillsDir))
	return len(w.Skills) > 0 || err == nil
}

// writeSkills makes the skills what the definition says. What the agent put beside them stays.
func writeSkills(home string, skills []*harnessv1.Skill) error {
	root, err := os.OpenRoot(home)
	if err != nil {
		return fmt.Errorf("open home: %w", err)
	}
	defer root.Close()
	ours, err := marked(root)
	if err != nil {
		return err
	}
	for _, name := range ours { // also those that stay: a file that was added to one is not part of it
		if err := root.RemoveAll(path.Join(skillsDir, name)); err != nil {
			return fmt.Errorf("remove skill %q: %w", name, err)
		}
	}
	for _, s := range skills {
		if err := writeSkill(root, s); err != nil {
			return fmt.Errorf("skill %q: %w", s.Name, err)
		}
	}
	if len(skills) > 0 {
		return linkSkills(root)
	}
	return unlinkSkills(root, len(ours) > 0)
}

// unlinkSkills removes what the last skill leaves, when the agent has put nothing there.
func unlinkSkills(root *os.Root, had bool) error {
	left, err := fs.ReadDir(root.FS(), skillsDir)
	if err != nil || len(left) > 0 || !had {
		return nil // nothing of the harness is there
	}
	if to, err := root.Readlink(skillsLink); err == nil && to == skillsTo {
		if err := root.Remove(skillsLink); err != nil {
			return fmt.Errorf("remove the link to skills: %w", err)
		}
	}
	if err := root.Remove(skillsDir); err != nil {
		return fmt.Errorf("remove the directory of skills: %w", err)
	}
	return nil
}

// marked lists the skills that the harness made.
func marked(root *os.Root) ([]string, error) {
	entries, err := fs.ReadDir(root.FS(), skillsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list skills: %w", err)
	}
	var names []string
	for _, e := range entries {
		if fi, err := root.Lstat(path.Join(skillsDir, e.Name(), skillMark)); e.IsDir() && err == nil && fi.Mode().IsRegular() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

func writeSkill(root *os.Root, s *harnessv1.Skill) error {
	dir := path.Join(skillsDir, s.Name)
	if _, err := root.Lstat(dir); err == nil {
		return errors.New("the agent has one of this name of its own: give it another name")
	}
	if err := root.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := root.WriteFile(path.Join(dir, skillMark), nil, 0o644); err != nil {
		return err
	}
	// A JSON string is a YAML one.
	description, err := json.Marshal(s.Description)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("---\nname: %s\ndescription: %s\n---\n\n%s\n", s.Name, description, s.Body)
	return root.WriteFile(path.Join(dir, "SKILL.md"), []byte(text), 0o644)
}

// linkSkills makes the link, unless the agent has something of its own there.
func linkSkills(root *os.Root) error {
	if _, err := root.Lstat(skillsLink); err == nil {
		return nil
	}
	if err := root.MkdirAll(path.Dir(skillsLink), 0o755); err != nil {
		return fmt.Errorf("link skills: %w", err)
	}
	if err := root.Symlink(skillsTo, skillsLink); err != nil {
		return fmt.Errorf("link skills: %w", err)
	}
	return nil
}
