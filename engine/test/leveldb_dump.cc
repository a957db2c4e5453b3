// leveldb_dump.cc - LevelDB's DumpFile (what leveldbutil shows), which is not in its C interface.

#include <cstdlib>
#include <cstring>

#include "leveldb/dumpfile.h"
#include "leveldb/env.h"

extern "C" char *leveldb_dump(const char *path, char **error);

namespace
{

class Text : public leveldb::WritableFile
{
  public:
	std::string text;

	leveldb::Status
	Append(const leveldb::Slice &data) override
	{
		text.append(data.data(), data.size());
		return leveldb::Status::OK();
	}
	leveldb::Status
	Close() override
	{
		return leveldb::Status::OK();
	}
	leveldb::Status
	Flush() override
	{
		return leveldb::Status::OK();
	}
	leveldb::Status
	Sync() override
	{
		return leveldb::Status::OK();
	}
};

} // namespace

// The text, to be freed; NULL with an error, likewise.
char *
leveldb_dump(const char *path, char **error)
{
	Text file;
	leveldb::Status status = leveldb::DumpFile(leveldb::Env::Default(), path, &file);

	*error = status.ok() ? nullptr : strdup(status.ToString().c_str());
	return status.ok() ? strdup(file.text.c_str()) : nullptr;
}
