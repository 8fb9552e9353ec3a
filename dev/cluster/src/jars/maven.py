"""Downloads one jar with its coordinates from the default Maven repository: GROUP ARTIFACT VERSION FOLDER."""

import pathlib
import sys

from jgo.maven import MavenContext

group, artifact, version, folder = sys.argv[1:]
context = MavenContext(repo_cache=pathlib.Path(folder))
print(context.project(group, artifact).at_version(version).artifact().resolve())
