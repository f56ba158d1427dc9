import de.bwaldvogel.mongo.MongoCollection;
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.CollectionOptions;
import de.bwaldvogel.mongo.backend.CursorRegistry;
import de.bwaldvogel.mongo.backend.DatabaseResolver;
import de.bwaldvogel.mongo.backend.Index;
import de.bwaldvogel.mongo.backend.IndexKey;
import de.bwaldvogel.mongo.backend.KeyValue;
import de.bwaldvogel.mongo.backend.QueryParameters;
import de.bwaldvogel.mongo.backend.QueryResult;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import de.bwaldvogel.mongo.backend.memory.MemoryCollection;
import de.bwaldvogel.mongo.backend.memory.MemoryDatabase;
import de.bwaldvogel.mongo.backend.memory.index.MemoryUniqueIndex;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.oplog.Oplog;
import io.netty.channel.Channel;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentNavigableMap;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.stream.Stream;

/**
 * A server that speaks MongoDB's wire protocol and keeps all documents in memory: java -cp 'lib/*'
 * Main.java PORT [ADDRESS]. The address is loopback by default.
 *
 * <p>The library looks at all documents, unless a query names the keys of a unique index and
 * nothing else. Here an index also narrows queries that name more than its keys. An index that is
 * not unique narrows by its first keys, as in MongoDB. The documents that are found are compared
 * with the whole query in any case.
 *
 * <p>The library changes a document's fields one after the other, also while an answer with that
 * document is being sent. Here an answer holds copies, so that a reader sees a document from before
 * or from after a change, as in MongoDB. A pipeline still begins with the documents themselves.
 */
class Main {
  /** The library reports wire version 8 by default, which today's drivers refuse. */
  static final MongoVersion VERSION =
      new MongoVersion() {
        @Override
        public List<Integer> getVersionArray() {
          return List.of(5, 0, 0);
        }

        @Override
        public int getWireVersion() {
          return 13;
        }
      };

  public static void main(String[] arguments) {
    var backend =
        new MemoryBackend() {
          @Override
          public MemoryDatabase openOrCreateDatabase(String name) {
            return new Indexed(name, getCursorRegistry());
          }
        };
    backend.version(VERSION);
    var address = arguments.length > 1 ? arguments[1] : "127.0.0.1";
    new MongoServer(backend).bind(address, Integer.parseInt(arguments[0]));
  }

  static class Indexed extends MemoryDatabase {
    Indexed(String name, CursorRegistry cursors) {
      super(name, cursors);
    }

    @Override
    protected Index<Integer> openOrCreateUniqueIndex(
        String collection, String name, List<IndexKey> keys, boolean sparse) {
      return new Unique(name, keys, sparse);
    }

    @Override
    protected Index<Integer> openOrCreateSecondaryIndex(
        String collection, String name, List<IndexKey> keys, boolean sparse) {
      return new Several(name, keys, sparse);
    }

    @Override
    protected Matched openOrCreateCollection(String name, CollectionOptions options) {
      return new Matched(this, name, options, cursorRegistry);
    }

    @Override
    public Document handleCommand(
        Channel channel, String command, Document query, DatabaseResolver databases, Oplog oplog) {
      var stages = query.get("pipeline") instanceof List<?> all ? all : List.of();
      var match = stages.isEmpty() ? null : ((Document) stages.get(0)).get("$match");
      if (match == null) return super.handleCommand(channel, command, query, databases, oplog);
      Matched.FIRST.set(Map.of((String) query.get("aggregate"), (Document) match));
      try {
        return super.handleCommand(channel, command, query, databases, oplog);
      } finally {
        Matched.FIRST.remove();
      }
    }
  }

  static class Matched extends MemoryCollection {
    /** The first stage of the pipeline that is being run, by the name of its collection. */
    static final ThreadLocal<Map<String, Document>> FIRST = ThreadLocal.withInitial(Map::of);

    /** Whether the documents that are being looked for are an answer. The lock guards it. */
    private boolean answering;

    /** Whether they are to be changed. The lock guards it. */
    private boolean changing;

    Matched(Indexed database, String name, CollectionOptions options, CursorRegistry cursors) {
      super(database, name, options, cursors);
    }

    /** The documents with which a pipeline begins. The pipeline's first stage matches again. */
    @Override
    public Stream<Document> queryAllAsStream() {
      var match = FIRST.get().get(getCollectionName());
      return match == null ? super.queryAllAsStream() : handleQueryAsStream(match);
    }

    @Override
    public synchronized QueryResult handleQuery(QueryParameters query) {
      answering = !changing && FIRST.get().isEmpty();
      try {
        return super.handleQuery(query);
      } finally {
        answering = false;
      }
    }

    /**
     * Takes the index of the ids for a range of them. Of the indexes that are not unique, takes the
     * one that leaves the fewest documents.
     */
    @Override
    protected QueryResult queryDocuments(
        Document query, Document order, int skip, int limit, int batchSize, Document fields) {
      Iterable<Integer> positions = positionsOfRange(query, order, limit > 0 ? skip + limit : Integer.MAX_VALUE);
      if (positions == null) positions = positionsOfFewest(query);
      return positions == null
          ? super.queryDocuments(query, order, skip, limit, batchSize, fields)
          : matchDocuments(query, positions, order, skip, limit, batchSize, fields);
    }

    /** Null where the query names no range of ids. In the order of the ids no more than so many are needed. */
    private List<Integer> positionsOfRange(Document query, Document order, int needed) {
      for (var index : getIndexes()) {
        if (!(index instanceof Unique unique)) continue;
        var range = unique.rangeOfIds(query);
        if (range == null) continue;
        if (order == null || !order.equals(new Document("_id", 1))) return new ArrayList<>(range);
        return range.stream()
            .filter(position -> documentMatchesQuery(getDocument(position), query))
            .limit(needed)
            .toList();
      }
      return null;
    }

    /** Null where no such index, or a unique one, can handle the query. */
    private Iterable<Integer> positionsOfFewest(Document query) {
      Several best = null;
      for (var index : getIndexes()) {
        if (!index.canHandle(query)) continue;
        if (!(index instanceof Several several)) return null;
        if (best == null || several.count(query) < best.count(query)) best = several;
      }
      return best == null ? null : best.getPositions(query);
    }

    @Override
    protected QueryResult createQueryResult(List<Document> documents, int batchSize) {
      var result = answering ? documents.stream().map(Document::cloneDeeply).toList() : documents;
      return super.createQueryResult(result, batchSize);
    }

    @Override
    public synchronized Document findAndModify(Document query) {
      changing = true;
      try {
        return super.findAndModify(query).cloneDeeply();
      } finally {
        changing = false;
      }
    }

    @Override
    public synchronized int deleteDocuments(Document selector, int limit, Oplog oplog) {
      changing = true;
      try {
        return super.deleteDocuments(selector, limit, oplog);
      } finally {
        changing = false;
      }
    }
  }

  static class Unique extends MemoryUniqueIndex {
    /** The positions of the documents whose only key is a text, in its order. */
    private final ConcurrentSkipListMap<String, Integer> ordered = new ConcurrentSkipListMap<>();

    Unique(String name, List<IndexKey> keys, boolean sparse) {
      super(name, keys, sparse);
    }

    @Override
    protected boolean putKeyPosition(KeyValue key, Integer position) {
      if (key.size() == 1 && key.get(0) instanceof String text) ordered.put(text, position);
      return super.putKeyPosition(key, position);
    }

    @Override
    protected Integer removeDocument(KeyValue key) {
      if (key.size() == 1 && key.get(0) instanceof String text) ordered.remove(text);
      return super.removeDocument(key);
    }

    /** The positions of a range of ids in their order. Null where the query names none. */
    Collection<Integer> rangeOfIds(Document query) {
      if (keys().size() != 1 || !keys().get(0).equals("_id")) return null;
      if (!(query.get("_id") instanceof Document bounds) || bounds.isEmpty()) return null;
      ConcurrentNavigableMap<String, Integer> range = ordered;
      try {
        for (var bound : bounds.entrySet()) {
          if (!(bound.getValue() instanceof String text)) return null;
          switch (bound.getKey()) {
            case "$gt" -> range = range.tailMap(text, false);
            case "$gte" -> range = range.tailMap(text, true);
            case "$lt" -> range = range.headMap(text, false);
            case "$lte" -> range = range.headMap(text, true);
            default -> {
              return null;
            }
          }
        }
      } catch (IllegalArgumentException noneLiesBetween) {
        return List.of();
      }
      return range.values();
    }

    private Document ownPart(Document query) {
      var part = new Document();
      for (var key : keys()) if (query.containsKey(key)) part.put(key, query.get(key));
      return part;
    }

    @Override
    public synchronized boolean canHandle(Document query) {
      return super.canHandle(ownPart(query));
    }

    @Override
    public synchronized Iterable<Integer> getPositions(Document query) {
      return super.getPositions(ownPart(query));
    }
  }

  /** Finds the documents that share the value of the first key, or the values of the first two. */
  static class Several extends Index<Integer> {
    /** The positions by values, then by the documents' ids. */
    private final Map<List<Object>, Map<Object, Integer>> positions = new HashMap<>();

    Several(String name, List<IndexKey> keys, boolean sparse) {
      super(name, keys, sparse);
    }

    /** The value at a key such as {@code provenance.title}. Null where there is none. */
    private static Object valueOf(Document document, String key) {
      Object value = document;
      for (var name : key.split("\\.")) value = value instanceof Document inner ? inner.get(name) : null;
      return value;
    }

    private List<List<Object>> valuesOf(Document document) {
      var values = new ArrayList<List<Object>>();
      for (var length = 1; length <= Math.min(2, keys().size()); length++) {
        var prefix = keys().subList(0, length).stream().map(key -> valueOf(document, key)).toArray();
        values.add(Arrays.asList(prefix));
      }
      return values;
    }

    /** The values that a query asks for. It is null where the query names none. */
    private List<List<Object>> valuesAskedFor(Document query) {
      var asked = new ArrayList<List<Object>>();
      for (var first : constants(query.get(keys().get(0)))) {
        var seconds = keys().size() > 1 ? constants(query.get(keys().get(1))) : List.of();
        if (seconds.isEmpty()) asked.add(List.of(first));
        for (var second : seconds) asked.add(List.of(first, second));
      }
      return asked.isEmpty() ? null : asked;
    }

    private static Collection<?> constants(Object condition) {
      if (condition instanceof String || condition instanceof Boolean) return List.of(condition);
      if (condition instanceof Document one && one.size() == 1 && one.get("$in") instanceof Collection<?> all
          && all.stream().allMatch(String.class::isInstance)) return new LinkedHashSet<>(all);
      return List.of();
    }

    @Override
    public boolean canHandle(Document query) {
      return valuesAskedFor(query) != null;
    }

    @Override
    public Iterable<Integer> getPositions(Document query) {
      var found = new ArrayList<Integer>();
      for (var values : valuesAskedFor(query)) found.addAll(positions.getOrDefault(values, Map.of()).values());
      return found;
    }

    /** How many documents the index leaves of a query that it can handle. */
    int count(Document query) {
      return valuesAskedFor(query).stream().mapToInt(values -> positions.getOrDefault(values, Map.of()).size()).sum();
    }

    @Override
    public void add(Document document, Integer position, MongoCollection<Integer> collection) {
      for (var values : valuesOf(document)) {
        positions.computeIfAbsent(values, none -> new LinkedHashMap<>()).put(document.get("_id"), position);
      }
    }

    @Override
    public Integer remove(Document document) {
      Integer position = null;
      for (var values : valuesOf(document)) {
        var ids = positions.get(values);
        if (ids == null) continue;
        position = ids.remove(document.get("_id"));
        if (ids.isEmpty()) positions.remove(values);
      }
      return position;
    }

    @Override
    public void updateInPlace(
        Document before, Document after, Integer position, MongoCollection<Integer> collection) {
      remove(before);
      add(after, position, collection);
    }

    @Override
    public Integer getPosition(Document document) {
      return null;
    }

    @Override
    public void checkAdd(Document document, MongoCollection<Integer> collection) {}

    @Override
    public void checkUpdate(Document before, Document after, MongoCollection<Integer> collection) {}

    @Override
    public long getCount() {
      return positions.values().stream().mapToLong(Map::size).sum();
    }

    @Override
    public long getDataSize() {
      return 0;
    }

    @Override
    public void drop() {
      positions.clear();
    }
  }
}
