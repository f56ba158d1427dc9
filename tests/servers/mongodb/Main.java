import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import java.util.List;

/**
 * Speaks MongoDB's wire protocol, documents in memory: java -cp 'lib/*' Main.java PORT [ADDRESS].
 * The address is loopback unless told.
 */
class Main {
  /** By default it reports wire version 8, which today's drivers refuse. */
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
    var backend = new MemoryBackend();
    backend.version(VERSION);
    var address = arguments.length > 1 ? arguments[1] : "127.0.0.1";
    new MongoServer(backend).bind(address, Integer.parseInt(arguments[0]));
  }
}
